"""The same search as Katib Experiments: built here, one an algorithm; never submitted here."""

import re
from dataclasses import dataclass
from typing import Any

from kubeflow_katib_api import models as katib

from tidegate import store
from tidegate.config import ClusterConfig, SearchConfig
from tidegate.models.interface import Algorithm, Choice, FloatRange, IntRange
from tidegate.search.space import word

_SHELL_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_WORKSPACE = "/workspace"
_CONTAINER = "trial"
#: Any user but root will do; a fixed one lets trials of one search read each other's files.
_USER = 1000


@dataclass(frozen=True)
class ExperimentPlan:
    """What one algorithm's Experiment is built from.

    Parameters
    ----------
    name : str
        The configuration's name.
    algorithm : Algorithm
        One of those that `search` lists.
    search, cluster : SearchConfig, ClusterConfig
        Budgets, seeds and stop rule; namespace and image.
    workspace_claim : str
        The PersistentVolumeClaim that holds features and takes models.
    features, trials : str
        Folders inside the claim: the feature set, and where every trial leaves its model.
    """

    name: str
    algorithm: Algorithm
    search: SearchConfig
    cluster: ClusterConfig
    workspace_claim: str
    features: str
    trials: str


def build_experiment(plan: ExperimentPlan) -> Any:
    """Return the ``V1beta1Experiment`` that searches one algorithm as the local search does.

    Its name is derived from its content: the same plan has the same name. Katib has no budget in
    minutes; every trial gets the search's minutes as its deadline, and whoever submits the
    Experiment ends it when they are over.

    Raises
    ------
    ValueError
        If the plan's algorithm is not listed in its search, or a folder's name would need quotes
        in a shell.
    """
    trials = _trial_count(plan)
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
        algorithm=katib.V1beta1AlgorithmSpec(
            algorithm_name="multivariate-tpe",
            algorithm_settings=[
                katib.V1beta1AlgorithmSetting(name="random_state", value=str(plan.search.seed))
            ],
        ),
        early_stopping=katib.V1beta1EarlyStoppingSpec(
            algorithm_name="medianstop",
            algorithm_settings=[
                katib.V1beta1EarlyStoppingSetting(
                    name="min_trials_required", value=str(plan.search.median_stop_min_trials)
                ),
                katib.V1beta1EarlyStoppingSetting(
                    name="start_step", value=str(plan.search.median_stop_start_step)
                ),
            ],
        ),
        max_trial_count=trials,
        # As on one machine: a crashed trial is recorded and the others go on.
        max_failed_trial_count=trials,
        parallel_trial_count=min(plan.search.parallel, trials),
        resume_policy="Never",
        parameters=[
            _parameter(name, dimension) for name, dimension in plan.algorithm.search_space.items()
        ],
        metrics_collector_spec=katib.V1beta1MetricsCollectorSpec(
            collector=katib.V1beta1CollectorSpec(kind="StdOut")
        ),
        trial_template=_trial_template(plan),
    )
    digest = store.digest_json(spec.to_dict())
    label = re.sub(r"[^a-z0-9]+", "-", plan.algorithm.name.lower()).strip("-")
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1",
        kind="Experiment",
        metadata=katib.IoK8sApimachineryPkgApisMetaV1ObjectMeta(
            # Short: Katib appends to it, and a pod's name ends at 63 characters.
            name=f"tidegate-{label[:14].rstrip('-')}-{digest[:12]}",
            namespace=plan.cluster.namespace,
            labels=_labels(plan),
        ),
        spec=spec,
    )


def to_manifest(experiment: Any) -> dict[str, Any]:
    """Return an Experiment as the document that Kubernetes takes."""
    document: dict[str, Any] = experiment.to_dict()
    return document


def _trial_count(plan: ExperimentPlan) -> int:
    """Return this algorithm's share of the trials; they take turns in the configured order."""
    names = list(dict.fromkeys(plan.search.algorithms))
    if plan.algorithm.name not in names:
        raise ValueError(f"{plan.algorithm.name} is not one of search.algorithms: {names}")
    each, left = divmod(plan.search.trials, len(names))
    return max(1, each + (names.index(plan.algorithm.name) < left))


def _parameter(name: str, dimension: FloatRange | IntRange | Choice) -> Any:
    if isinstance(dimension, Choice):
        kind = "categorical"
        space = katib.V1beta1FeasibleSpace(list=[word(value) for value in dimension.values])
    else:
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


def _trial_template(plan: ExperimentPlan) -> Any:
    space = plan.algorithm.search_space
    references = {"trial_name": "${trialSpec.Name}", **{name: name for name in space}}
    return katib.V1beta1TrialTemplate(
        primary_container_name=_CONTAINER,
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
                "activeDeadlineSeconds": max(1, round(plan.search.minutes * 60)),
                "template": _pod_template(plan).to_dict(),
            },
        },
    )


def _pod_template(plan: ExperimentPlan) -> Any:
    """Return a pod that the Pod Security level ``restricted`` admits."""
    return katib.IoK8sApiCoreV1PodTemplateSpec(
        metadata=katib.IoK8sApimachineryPkgApisMetaV1ObjectMeta(
            # A mesh's sidecar would outlive the trial and the Job would never complete.
            labels={**_labels(plan), "sidecar.istio.io/inject": "false"}
        ),
        spec=katib.IoK8sApiCoreV1PodSpec(
            restart_policy="Never",
            automount_service_account_token=False,
            security_context=katib.IoK8sApiCoreV1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=_USER,
                run_as_group=_USER,
                fs_group=_USER,
                seccomp_profile=katib.IoK8sApiCoreV1SeccompProfile(type="RuntimeDefault"),
            ),
            containers=[_container(plan)],
            volumes=[
                katib.IoK8sApiCoreV1Volume(
                    name="workspace",
                    persistent_volume_claim=katib.IoK8sApiCoreV1PersistentVolumeClaimVolumeSource(
                        claim_name=plan.workspace_claim
                    ),
                )
            ],
        ),
    )


def _container(plan: ExperimentPlan) -> Any:
    resources = plan.algorithm.resources
    amounts = {"cpu": str(resources.cpu), "memory": f"{round(resources.memory_gib * 1024)}Mi"}
    if resources.gpus:
        amounts["nvidia.com/gpu"] = str(resources.gpus)
    quantities = {
        name: katib.IoK8sApimachineryPkgApiResourceQuantity(amount)
        for name, amount in amounts.items()
    }
    environment = {
        "OMP_NUM_THREADS": str(resources.cpu),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    return katib.IoK8sApiCoreV1Container(
        name=_CONTAINER,
        image=plan.cluster.image,
        command=_command(plan),
        env=[
            katib.IoK8sApiCoreV1EnvVar(name=name, value=value)
            for name, value in environment.items()
        ],
        resources=katib.IoK8sApiCoreV1ResourceRequirements(requests=quantities, limits=quantities),
        security_context=katib.IoK8sApiCoreV1SecurityContext(
            allow_privilege_escalation=False,
            capabilities=katib.IoK8sApiCoreV1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[katib.IoK8sApiCoreV1VolumeMount(name="workspace", mount_path=_WORKSPACE)],
    )


def _command(plan: ExperimentPlan) -> list[str]:
    # Katib joins these words with spaces for a shell to run: none may need quoting.
    for folder in (plan.features, plan.trials):
        if not _SHELL_SAFE.fullmatch(folder):
            raise ValueError(f"a folder's name must be letters, digits, _ . - or /, got {folder!r}")
    hyperparameters = [
        f"{name}=${{trialParameters.{name}}}" for name in plan.algorithm.search_space
    ]
    return [
        *("python", "-m", "tidegate.search.trial"),
        *("--features", f"{_WORKSPACE}/{plan.features}"),
        *("--algorithm", plan.algorithm.name),
        *("--seed", str(plan.search.seed)),
        *("--threads", str(plan.algorithm.resources.cpu)),
        *("--out", f"{_WORKSPACE}/{plan.trials}/${{trialParameters.trial_name}}"),
        *hyperparameters,
    ]


def _labels(plan: ExperimentPlan) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "tidegate",
        "app.kubernetes.io/component": "search",
        "tidegate/name": plan.name,
        "tidegate/algorithm": plan.algorithm.name,
    }
