"""The same search as Katib Experiments: one an algorithm, built here and submitted elsewhere."""

import re
from dataclasses import dataclass
from typing import Any

from kubeflow_katib_api import models as katib

from tidegate import store
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.models.interface import Algorithm, Choice, FloatRange, IntRange
from tidegate.search.pods import CONTAINER, WORKSPACE, labels, pool_of, trial_pod
from tidegate.search.space import grid_points, steps, word

PLAN_LABEL = "tidegate/plan"
MINUTES_ANNOTATION = "tidegate/minutes"
#: What hyperband shares out: how many reports of its learning curve a trial may make.
REPORTS = "reports"
#: Where Katib's population-based training mounts what the trial that a trial goes on from left.
STATE = "/state"
#: Katib takes no smaller population, and one generation alone is random search.
_FEWEST_MEMBERS, _FEWEST_GENERATIONS = 5, 3
#: The share of a generation that is replaced (Jaderberg et al. 2017, "truncation selection").
_TRUNCATED = 0.2
#: Values between which a hyperparameter moves by one from generation to generation.
_STEPS = 15

_SHELL_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True)
class Owner:
    """The object with which an Experiment goes: the run's Workflow or the step's Pod."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class ExperimentPlan:
    """What one algorithm's Experiment is built from.

    Parameters
    ----------
    search_id : str
        Marks all Experiments of one search; a label's value.
    algorithm : Algorithm
        One of those that `search` lists.
    trials : int
        How many trials this algorithm gets, from `shares`.
    search, cluster : SearchConfig, ClusterConfig
        Budgets, seeds and stop rule; namespace, images, workspace and node pools.
    features, folder : str
        Folders inside the workspace: the feature set, and where every trial leaves its model.
    owner : Owner, optional
        Kubernetes removes the Experiment when its owner is gone.
    """

    search_id: str
    algorithm: Algorithm
    trials: int
    search: SearchConfig
    cluster: ClusterConfig
    features: str
    folder: str
    owner: Owner | None = None


def build_experiment(plan: ExperimentPlan) -> Any:
    """Return the ``V1beta1Experiment`` that searches one algorithm as the local search does.

    Its name is derived from its content: the same plan has the same name. Katib has no budget in
    minutes; every trial gets the search's minutes as its deadline, and whoever submits the
    Experiment ends it when they are over.

    Raises
    ------
    BadInput
        If the strategy cannot be had with so many parallel trials.
    ValueError
        If a folder's name would need quotes in a shell.
    """
    parameters, trials, parallel, algorithm, stopping = _strategy(plan)
    spec = katib.V1beta1ExperimentSpec(
        objective=katib.V1beta1ObjectiveSpec(
            type="maximize",
            objective_metric_name="average_precision",
            additional_metric_names=["log_loss"],
            # The last line a trial prints is the saved model's; the best one may be another's.
            metric_strategies=[
                katib.V1beta1MetricStrategy(name=name, value="latest")
                for name in ("average_precision", "log_loss")
            ],
        ),
        algorithm=algorithm,
        early_stopping=stopping,
        max_trial_count=trials,
        # As on one machine: a crashed trial is recorded and the others go on.
        max_failed_trial_count=trials,
        parallel_trial_count=parallel,
        # The volume that passes trials' states on is made with this policy alone.
        resume_policy="FromVolume" if plan.search.strategy == "pbt" else "Never",
        parameters=parameters,
        metrics_collector_spec=katib.V1beta1MetricsCollectorSpec(
            collector=katib.V1beta1CollectorSpec(kind="StdOut")
        ),
        trial_template=_trial_template(plan, [parameter.name for parameter in parameters]),
    )
    digest = store.digest_json(spec.to_dict())
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1",
        kind="Experiment",
        metadata=katib.IoK8sApimachineryPkgApisMetaV1ObjectMeta(
            name=_name(plan, digest),
            namespace=plan.cluster.namespace,
            labels={**labels(plan.algorithm, plan.search_id), PLAN_LABEL: digest[:40]},
            annotations={MINUTES_ANNOTATION: f"{plan.search.minutes:g}"},
            owner_references=_owner_references(plan.owner),
        ),
        spec=spec,
    )


def to_manifest(experiment: Any) -> dict[str, Any]:
    """Return an Experiment as the document that Kubernetes takes."""
    document: dict[str, Any] = experiment.to_dict()
    return document


def shares(trials: int, names: list[str]) -> dict[str, int]:
    """Return how many of the trials each algorithm gets; they take turns in their order."""
    each, left = divmod(trials, len(names))
    return {name: each + (place < left) for place, name in enumerate(names)}


def _name(plan: ExperimentPlan, digest: str) -> str:
    # Short: Katib makes its trials' names of it, and these are labels, of 63 characters at most.
    # Its population-based training appends a UUID.
    letters, digits = (8, 8) if plan.search.strategy == "pbt" else (14, 12)
    name = re.sub(r"[^a-z0-9]+", "-", plan.algorithm.name.lower()).strip("-")
    return f"tidegate-{name[:letters].rstrip('-')}-{digest[:digits]}"


def _owner_references(owner: Owner | None) -> list[Any] | None:
    if owner is None:
        return None
    return [
        katib.IoK8sApimachineryPkgApisMetaV1OwnerReference(
            api_version=owner.api_version, kind=owner.kind, name=owner.name, uid=owner.uid
        )
    ]


def _strategy(plan: ExperimentPlan) -> tuple[list[Any], int, int, Any, Any]:
    """Return parameters, trials, parallel trials, Katib's algorithm and its stop rule."""
    search, space = plan.search, plan.algorithm.search_space
    parallel = min(search.parallel, plan.trials)
    stopping = _median_stop(search)
    parameters = [_parameter(name, dimension) for name, dimension in space.items()]
    settings = {"random_state": str(search.seed)}
    if search.strategy == "grid":
        points = grid_points(space, plan.algorithm.defaults, plan.trials)
        parameters = [_categorical(name, [word(v) for v in points[name]]) for name in space]
        size = 1
        for values in points.values():
            size *= len(values)
        return parameters, size, min(parallel, size), _algorithm("grid", settings), stopping
    if search.strategy == "hyperband":
        rung, whole = _bracket(plan)
        # Katib 0.19 asks its service for as many points as trials may start, and fails unless it
        # gets just so many: of all brackets only one of two rungs, many trials then one, fits.
        settings = {"resource_name": REPORTS, "eta": str(rung), "r_l": str(whole)}
        parameters.append(_parameter(REPORTS, IntRange(1, whole)))
        return parameters, rung + 1, rung, _algorithm("hyperband", settings), None
    if search.strategy == "pbt":
        # Its service knows neither a logarithm nor a seed, and moves whole numbers off the grid.
        parameters = [
            _categorical(name, [word(value) for value in values])
            for name, values in steps(space, _STEPS).items()
        ]
        return parameters, plan.trials, parallel, _algorithm("pbt", _population(plan)), None
    return parameters, plan.trials, parallel, _algorithm(search.strategy, settings), stopping


def _population(plan: ExperimentPlan) -> dict[str, str]:
    """Return the settings of population-based training.

    Every trial goes on from the state of one in the generation before, which Katib copies.
    """
    if not plan.algorithm.resumable:
        raise BadInput(
            "search.strategy",
            f"pbt goes on with what a trial before left, and {plan.algorithm.name} begins anew",
            "write strategy: multivariate-tpe, or list resumable algorithms alone",
        )
    members = max(_FEWEST_MEMBERS, plan.trials // 5)
    if plan.trials < _FEWEST_GENERATIONS * members:
        raise BadInput(
            "search.trials",
            f"pbt trains {_FEWEST_GENERATIONS} generations of {members}, and "
            f"{plan.algorithm.name} gets {plan.trials} trials",
            f"write at least {_FEWEST_GENERATIONS * _FEWEST_MEMBERS} trials an algorithm",
        )
    return {
        "suggestion_trial_dir": STATE,
        "n_population": str(members),
        "truncation_threshold": str(_TRUNCATED),
    }


def _bracket(plan: ExperimentPlan) -> tuple[int, int]:
    """Return hyperband's trials in the first rung, and the reports of one that is not cut short.

    With the reduction factor equal to the first rung, the second one is a single whole trial.
    """
    rung = min(plan.search.parallel, plan.trials - 1)
    if rung < 2:
        raise BadInput(
            "search.strategy",
            f"hyperband compares trials side by side, and {plan.algorithm.name} gets {plan.trials} "
            f"trials, {plan.search.parallel} at once",
            "write parallel: 4 and at least 5 trials an algorithm",
        )
    return rung, rung * (rung - 1)


def _algorithm(name: str, settings: dict[str, str]) -> Any:
    return katib.V1beta1AlgorithmSpec(
        algorithm_name=name,
        algorithm_settings=[
            katib.V1beta1AlgorithmSetting(name=key, value=value) for key, value in settings.items()
        ],
    )


def _median_stop(search: SearchConfig) -> Any:
    settings = {
        "min_trials_required": search.median_stop_min_trials,
        "start_step": search.median_stop_start_step,
    }
    return katib.V1beta1EarlyStoppingSpec(
        algorithm_name="medianstop",
        algorithm_settings=[
            katib.V1beta1EarlyStoppingSetting(name=name, value=str(value))
            for name, value in settings.items()
        ],
    )


def _parameter(name: str, dimension: FloatRange | IntRange | Choice) -> Any:
    if isinstance(dimension, Choice):
        return _categorical(name, [word(value) for value in dimension.values])
    kind = "int" if isinstance(dimension, IntRange) else "double"
    space = katib.V1beta1FeasibleSpace(
        min=word(dimension.low),
        max=word(dimension.high),
        distribution="logUniform" if dimension.log else "uniform",
    )
    if kind == "int" and not dimension.log:
        # Without a step, Katib's Optuna service passes None on, which Optuna refuses.
        space.step = "1"
    return katib.V1beta1ParameterSpec(name=name, parameter_type=kind, feasible_space=space)


def _categorical(name: str, words: list[str]) -> Any:
    return katib.V1beta1ParameterSpec(
        name=name,
        parameter_type="categorical",
        feasible_space=katib.V1beta1FeasibleSpace(list=words),
    )


def _trial_template(plan: ExperimentPlan, parameters: list[str]) -> Any:
    references = {"trial_name": "${trialSpec.Name}", **{name: name for name in parameters}}
    marks = labels(plan.algorithm, plan.search_id)
    pod = trial_pod(plan.algorithm, plan.cluster, _command(plan), marks)
    return katib.V1beta1TrialTemplate(
        primary_container_name=CONTAINER,
        success_condition='status.conditions.#(type=="Complete")#|#(status=="True")#',
        failure_condition='status.conditions.#(type=="Failed")#|#(status=="True")#',
        retain=False,
        trial_parameters=[
            katib.V1beta1TrialParameterSpec(name=name, reference=reference)
            for name, reference in references.items()
        ],
        trial_spec={
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {
                "backoffLimit": 0,
                **_spot_policy(plan),
                "activeDeadlineSeconds": max(1, round(plan.search.minutes * 60)),
                "template": pod.to_dict(),
            },
        },
    )


def _spot_policy(plan: ExperimentPlan) -> dict[str, Any]:
    """Return what lets a Job start a trial again whose node went away; one that crashed ends."""
    if not pool_of(plan.algorithm, plan.cluster).spot:
        return {}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [disrupted]}]}}


def _command(plan: ExperimentPlan) -> list[str]:
    # Katib joins these words with spaces for a shell to run: none may need quoting.
    for folder in (plan.features, plan.folder):
        if not _SHELL_SAFE.fullmatch(folder):
            raise ValueError(f"a folder's name must be letters, digits, _ . - or /, got {folder!r}")
    hyperparameters = [
        f"{name}=${{trialParameters.{name}}}" for name in plan.algorithm.search_space
    ]
    int8 = plan.search.quantize
    more = []
    if plan.search.strategy == "hyperband":
        _, whole = _bracket(plan)
        more = ["--reports", f"${{trialParameters.{REPORTS}}}/{whole}"]
    if plan.search.strategy == "pbt":
        more = ["--state", STATE]
    return [
        *("python", "-m", "tidegate.search.trial"),
        *("--features", f"{WORKSPACE}/{plan.features}"),
        *("--algorithm", plan.algorithm.name),
        *("--seed", str(plan.search.seed)),
        *("--threads", str(plan.algorithm.resources.cpu)),
        *(("--encoder", plan.search.encoder) if plan.search.encoder else ()),
        *(("--device", plan.search.device) if plan.search.device != "auto" else ()),
        *(() if int8 is None else ("--quantize", int8.model_dump_json())),
        *more,
        *("--out", f"{WORKSPACE}/{plan.folder}/${{trialParameters.trial_name}}"),
        *hyperparameters,
    ]
