"""A small Kubernetes over real HTTP: custom objects with state, faults on demand, and a Katib.

The server answers the official client; the Katib beside it runs the trials of Experiments in this
process, one round each time that the (injected) clock sleeps.
"""

import contextlib
import io
import itertools
import json
import math
import random
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tidegate.search.medianstop import stop_rule
from tidegate.search.trial import main as trial_main

EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)


@dataclass
class FakeClock:
    """Time that passes only when someone sleeps; `ticks` are called then."""

    seconds: float = 0.0
    ticks: list = field(default_factory=list)
    slept: list = field(default_factory=list)
    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return self.seconds

    def now(self):
        return self.epoch + timedelta(seconds=self.seconds)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds
        for tick in self.ticks:
            tick()


@dataclass
class Fault:
    """What the next matching requests meet instead of an answer."""

    method: str
    path: str
    status: int | str  # a status, or "reset": the connection is torn down
    times: int = 1
    headers: dict = field(default_factory=dict)
    after: bool = False  # the request is carried out, only its answer is lost


class FakeKubernetes:
    """Objects by (group, namespace, plural, name)."""

    def __init__(self, clock):
        self.clock = clock
        self.objects = {}
        self.faults = []
        self.requests = []
        self.tokens = {"valid"}
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def configuration(self, token="valid"):
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{self._server.server_address[1]}"
        configuration.api_key = {"authorization": f"Bearer {token}"}
        return configuration

    def of(self, plural):
        return [document for key, document in self.objects.items() if key[2] == plural]

    def put(self, plural, document, group="kubeflow.org"):
        metadata = document["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", self.clock.now().isoformat())
        self.objects[group, metadata.get("namespace", "tidegate"), plural, metadata["name"]] = (
            document
        )
        return document

    def remove(self, key):
        uid = self.objects.pop(key)["metadata"]["uid"]
        for other, document in list(self.objects.items()):
            owners = document["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and other in self.objects:
                self.remove(other)

    def answer(self, method, url, body):
        """Return the status and the document for a request."""
        parts = urlsplit(url)
        match = _PATH.fullmatch(parts.path)
        group, namespace = match["group"] or "", match["namespace"]
        key = (group, namespace, match["plural"], match["name"])
        if method == "POST":
            key = (*key[:3], body["metadata"]["name"])
            if key in self.objects:
                return 409, _status(409, f"{key[2]} {key[3]!r} already exists")
            return 201, self.put(match["plural"], body, group)
        if match["name"] is None:
            selector = parse_qs(parts.query).get("labelSelector", [""])[0]
            items = [
                document
                for other, document in self.objects.items()
                if other[:3] == key[:3]
                and _selects(selector, document["metadata"].get("labels") or {})
            ]
            return 200, {"kind": "List", "items": items}
        if key not in self.objects:
            return 404, _status(404, f"{key[2]} {key[3]!r} not found")
        if method == "DELETE":
            self.remove(key)
            return 200, _status(200, "deleted")
        return 200, self.objects[key]


def _handler(kubernetes):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            kubernetes.requests.append((self.command, self.path))
            fault = next(
                (
                    fault
                    for fault in kubernetes.faults
                    if fault.times and fault.method == self.command and fault.path in self.path
                ),
                None,
            )
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in (
                kubernetes.tokens
            ):
                self._send(401, _status(401, "Unauthorized"))
                return
            if fault is None:
                self._send(*kubernetes.answer(self.command, self.path, body))
                return
            fault.times -= 1
            if fault.after:
                kubernetes.answer(self.command, self.path, body)
            if fault.status == "reset":
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.close_connection = True
                self.connection.close()
                return
            self._send(fault.status, _status(fault.status, "as ordered"), fault.headers)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def _send(self, status, document, headers=()):
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def finish(self):
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler


def _status(code, message):
    return {"kind": "Status", "code": code, "message": message}


def _selects(selector, labels):
    for name, names, value in re.findall(r"([^\s,=]+)(?: in \(([^)]*)\)|=([^,]*))", selector):
        if labels.get(name) not in (names.split(",") if names else [value]):
            return False
    return True


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
                    "ownerReferences": [{"kind": "Experiment", "uid": metadata["uid"]}],
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
