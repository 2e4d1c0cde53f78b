"""A Katib beside the fake Kubernetes: runs the trials of Experiments in this process.

It goes one round each time that the (injected) clock sleeps.
"""

import contextlib
import io
import math
import random
import re
from datetime import timedelta
from pathlib import Path

from tidegate.search.medianstop import stop_rule
from tidegate.search.trial import main as trial_main

EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"


class _KilledError(BaseException):
    """The metrics collector ended the trial's process."""


class FakeKatib:
    """Carries out Experiments: suggests points, runs trials, reads what they print.

    Parameters
    ----------
    fates : mapping of str to str
        What becomes of an algorithm's trials instead: ``pending``, ``failed`` (its pod goes
        without a word), ``lost`` (its metrics are) or ``elsewhere`` (it writes to another disk).
    """

    def __init__(self, kubernetes, clock, workspace, fates=()):
        self.kubernetes = kubernetes
        self.clock = clock
        self.workspace = workspace
        self.fates = dict(fates)
        self.commands = []
        self._random = random.Random(0)
        self._reported = {}

    def round(self):
        """Let every Experiment run as many trials as it may at once."""
        for experiment in self.kubernetes.of("experiments"):
            if "status" not in experiment:
                # Katib takes a while; the first round only starts.
                experiment["status"] = {"conditions": [_condition("Created", "created")]}
                self.kubernetes.save("experiments", experiment)
            elif len(experiment["status"]["conditions"]) == 1:
                self._advance(experiment)

    def _advance(self, experiment):
        spec, name = experiment["spec"], experiment["metadata"]["name"]
        mine = [
            trial
            for trial in self.kubernetes.of("trials")
            if trial["metadata"]["labels"][EXPERIMENT_LABEL] == name
        ]
        running = [trial for trial in mine if len(trial["status"]["conditions"]) == 1]
        for _ in range(min(spec["parallelTrialCount"], spec["maxTrialCount"] - len(mine))):
            if len(running) < spec["parallelTrialCount"]:
                trial = self._start(experiment)
                mine.append(trial)
                if len(trial["status"]["conditions"]) == 1:
                    running.append(trial)
        if len(mine) == spec["maxTrialCount"] and not running:
            experiment["status"]["conditions"].append(_condition("Succeeded", "max trials"))
            self.kubernetes.save("experiments", experiment)

    def _start(self, experiment):
        spec, metadata = experiment["spec"], experiment["metadata"]
        name = f"{metadata['name']}-{self._random.getrandbits(32):08x}"
        point = {entry["name"]: self._suggest(entry) for entry in spec["parameters"]}
        trial = self.kubernetes.put(
            "trials",
            {
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": {**metadata["labels"], EXPERIMENT_LABEL: metadata["name"]},
                    "ownerReferences": [_owned_by(experiment)],
                },
                "spec": {
                    "parameterAssignments": [{"name": n, "value": v} for n, v in point.items()]
                },
                "status": {
                    "startTime": self.clock.now().isoformat(),
                    "conditions": [_condition("Running", "running")],
                },
            },
        )
        fate = self.fates.get(metadata["labels"]["tidegate/algorithm"], "")
        if fate == "pending":
            return trial
        ended, observed = self._run(experiment, name, point, fate)
        trial["status"]["completionTime"] = (self.clock.now() + timedelta(seconds=2)).isoformat()
        trial["status"]["conditions"].append(_condition(ended, f"Trial has {ended}"))
        if observed:
            trial["status"]["observation"] = {
                "metrics": [{"name": n, "latest": v[-1]} for n, v in observed.items()]
            }
        self.kubernetes.save("trials", trial)
        return trial

    def _run(self, experiment, name, point, fate):
        template = experiment["spec"]["trialTemplate"]
        words = template["trialSpec"]["spec"]["template"]["spec"]["containers"][0]["command"]
        references = {entry["name"]: entry["reference"] for entry in template["trialParameters"]}

        def value(match):
            reference = references[match[1]]
            return name if reference == "${trialSpec.Name}" else point[reference]

        command = [re.sub(r"\$\{trialParameters\.(\w+)\}", value, word) for word in words]
        self.commands.append(command)
        disk = self.workspace.parent / "elsewhere" if fate == "elsewhere" else self.workspace
        arguments = [
            re.sub("^/workspace", str(self.workspace), word)
            if command[place - 1] != "--out"
            else re.sub("^/workspace", str(disk), word)
            for place, word in enumerate(command)
        ][3:]
        if fate == "failed":
            return "Failed", {}
        succeeded = [r for n, r in self._reported.items() if n.startswith(_stem(name))]
        output = _Collector(self._rule(experiment, succeeded))
        try:
            with contextlib.redirect_stdout(output):
                code = trial_main(arguments)
        except _KilledError:
            return "EarlyStopped", output.found
        except Exception:  # noqa: BLE001
            return "Failed", output.found
        if code != 0:
            return "Failed", {}
        self._reported[name] = [float(text) for text in output.found["average_precision"]]
        return ("MetricsUnavailable", {}) if fate == "lost" else ("Succeeded", output.found)

    def _rule(self, experiment, succeeded):
        stopping = experiment["spec"].get("earlyStopping")
        if stopping is None:
            return None
        settings = {entry["name"]: int(entry["value"]) for entry in stopping["algorithmSettings"]}
        return stop_rule(
            succeeded,
            min_trials=settings["min_trials_required"],
            start_step=settings["start_step"],
        )

    def _suggest(self, parameter):
        space = parameter["feasibleSpace"]
        if "list" in space:
            return self._random.choice(space["list"])
        low, high = float(space["min"]), float(space["max"])
        if space["distribution"] == "logUniform":
            drawn = math.exp(self._random.uniform(math.log(low), math.log(high)))
        else:
            drawn = self._random.uniform(low, high)
        return str(round(drawn) if parameter["parameterType"] == "int" else drawn)


def _stem(trial):
    return trial.rpartition("-")[0]


def _owned_by(experiment):
    metadata = experiment["metadata"]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _condition(kind, message):
    return {"type": kind, "status": "True", "message": message}


class _Collector(io.StringIO):
    """What Katib's StdOut collector does: reads ``name=value`` lines, ends what the rule stops."""

    def __init__(self, rule):
        super().__init__()
        self.found = {}
        self._rule = rule

    def write(self, text):
        for line in text.splitlines():
            name, separator, value = line.partition("=")
            if separator:
                self.found.setdefault(name, []).append(value)
                reported = [float(text) for text in self.found.get("average_precision", [])]
                if name == "log_loss" and self._rule and self._rule.stops(reported):
                    raise _KilledError
        return len(text)


def workspace_of(folder: Path) -> Path:
    """Return a new folder that stands for the mounted volume."""
    place = folder / "workspace"
    place.mkdir()
    return place
