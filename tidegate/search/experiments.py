"""One Experiment on the cluster: created or found again, and taken away."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.cluster_api import EXPERIMENTS, Clock, ClusterApi, ClusterError
from tidegate.models.interface import Algorithm
from tidegate.search.katib import PLAN_LABEL, ExperimentPlan, build_experiment, to_manifest
from tidegate.search.outcome import SearchFailed
from tidegate.search.trial_objects import created_at

_NAME_PAUSE_SECONDS = 5.0


@dataclass
class RunningExperiment:
    """An Experiment on the cluster.

    Parameters
    ----------
    trials : int
        How many it may make.
    age_seconds : float
        How long it had been there when this step found it; 0 for one that it made.
    ended : tuple of str, optional
        How it ended and what Katib said of that.
    """

    name: str
    algorithm: Algorithm
    trials: int
    age_seconds: float = 0.0
    ended: tuple[str, str] | None = None


def submit(api: ClusterApi, clock: Clock, plan: ExperimentPlan) -> RunningExperiment:
    """Create an Experiment, or go on with the one that a step before this one created.

    Raises
    ------
    SearchFailed
        If its name is taken by an Experiment with another plan, or one that stays in deletion.
    ClusterError
        If the cluster refuses it.
    """
    manifest = to_manifest(build_experiment(plan))
    metadata, namespace = manifest["metadata"], plan.cluster.namespace
    name, trials = metadata["name"], manifest["spec"]["maxTrialCount"]
    give_up = clock.monotonic() + 60 * plan.search.minutes
    while clock.monotonic() < give_up:
        try:
            api.create(EXPERIMENTS, namespace, manifest)
            print(f"started the Experiment {name}: {trials} trials", flush=True)
            return RunningExperiment(name, plan.algorithm, trials)
        except ClusterError as error:
            if error.status != 409:
                raise
        found = api.get(EXPERIMENTS, namespace, name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            clock.sleep(_NAME_PAUSE_SECONDS)  # it is going; then the name is free
            continue
        marks = found["metadata"].get("labels") or {}
        if marks.get(PLAN_LABEL) != metadata["labels"][PLAN_LABEL]:
            raise SearchFailed(
                f"an Experiment {name} with another plan is in {namespace}; delete it"
            )
        print(f"going on with the Experiment {name}", flush=True)
        age = (clock.now() - created_at(found)).total_seconds()
        return RunningExperiment(name, plan.algorithm, trials, age_seconds=max(0.0, age))
    raise SearchFailed(f"the Experiment {name} of an earlier step does not go away; delete it")


def take_away(
    api: ClusterApi, namespace: str, names: Sequence[str], *, patience_seconds: float | None
) -> bool:
    """Delete Experiments with their trials; say whether none is left behind.

    One that cannot be deleted is told and never raised: something else may be under way.
    """
    left = False
    for name in names:
        try:
            api.delete(EXPERIMENTS, namespace, name, patience_seconds=patience_seconds)
        except ClusterError as error:
            left = True
            print(f"the Experiment {name} is left behind: {error}", flush=True)
    return not left
