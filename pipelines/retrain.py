"""The retrain pipeline: one body of steps, in a shape for this machine and one for a cluster."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kfp import dsl

from components.assemble import assemble
from components.evaluate import evaluate
from components.featurize import featurize
from components.ingest import ingest
from components.plan import plan
from components.record_outcome import record_outcome
from components.release import release
from components.report import report
from components.search import search
from components.validate import validate
from pipelines.placement import WORKSPACE, Room, put

PIPELINE = "tidegate-retrain"
_DESCRIPTION = "Data to a released classifier."

Place = Callable[[dsl.PipelineTask, str], dsl.PipelineTask]


class RetrainOutputs(NamedTuple):
    """What a finished run hands on."""

    snapshot: dsl.Dataset
    validation: dsl.Artifact
    trials: dsl.Artifact
    evaluation: dsl.Artifact
    bundle: dsl.Model
    page: dsl.HTML
    card: dsl.Markdown
    audit: dsl.Artifact
    decision: str


def build_retrain(
    image: str,
    *,
    cluster: bool = False,
    search_image: str | None = None,
    object_store_secret: str | None = None,
) -> dsl.base_component.BaseComponent:
    """Return the pipeline with every step in `image`.

    Both shapes run the same steps. On this machine the caller has planned the run and takes the
    outputs; on a cluster a first step plans it where the data is, every step is placed by run-time
    parameters, and an exit task records the outcome.

    Parameters
    ----------
    image : str
        Image that has Tidegate installed, pinned by digest on a cluster.
    cluster : bool
        Whether to build the shape for a cluster.
    search_image : str, optional
        Image of the search step there, when its trials need a GPU.
    object_store_secret : str, optional
        Name of the Kubernetes secret whose keys every step there gets as environment.
    """
    if cluster:
        return _on_cluster(image, search_image or image, object_store_secret)
    return _on_this_machine(image)


def _steps(given: Mapping[str, Any], place: Place, on_cluster: Any = "") -> RetrainOutputs:
    """Wire the steps; `place` puts a task where it shall run.

    `on_cluster` is the whole configuration there, which the release step needs.
    """
    name, code_digest = given["name"], given["code_digest"]
    ingested = place(
        ingest(
            name=name,
            data=given["data"],
            source_digest=given["source_digest"],
            code_digest=code_digest,
        ),
        "ingest",
    )
    snapshot = ingested.outputs["snapshot"]
    validated = place(
        validate(
            data=given["data"],
            validation=given["validation"],
            reference_digest=given["reference_digest"],
            code_digest=code_digest,
            snapshot=snapshot,
        ),
        "validate",
    )
    featurized = place(
        featurize(features=given["features"], code_digest=code_digest, snapshot=snapshot),
        "featurize",
    ).after(validated)
    searched = place(
        search(
            search=given["search_settings"],
            cluster=given["cluster"],
            code_digest=code_digest,
            feature_set=featurized.outputs["feature_set"],
        ),
        "search",
    )
    assembled = place(
        assemble(
            name=name,
            baseline=given["baseline"],
            code_digest=code_digest,
            snapshot=snapshot,
            feature_set=featurized.outputs["feature_set"],
            trials=searched.outputs["trials"],
        ),
        "assemble",
    )
    evaluated = place(
        evaluate(
            policy=given["policy"],
            model_store=given["model_store"],
            run_digest=given["run_digest"],
            code_digest=code_digest,
            candidate=assembled.outputs["candidate"],
        ),
        "evaluate",
    )
    reported = place(
        report(
            config=given["config"],
            digests=given["digests"],
            code_digest=code_digest,
            snapshot=snapshot,
            validation=validated.outputs["report"],
            feature_set=featurized.outputs["feature_set"],
            trials=searched.outputs["trials"],
            evaluation=evaluated.outputs["evaluation"],
        ),
        "report",
    )
    with dsl.If(evaluated.outputs["Output"] == "promote", name="promoted"):
        # Never from the cache: the store may have moved on since the last run.
        place(
            release(
                model_store=given["model_store"],
                run_digest=given["run_digest"],
                approval=given["approval"],
                on_cluster=on_cluster,
                code_digest=code_digest,
                bundle=evaluated.outputs["bundle"],
            ),
            "release",
        ).after(reported).set_caching_options(False)
    return RetrainOutputs(
        snapshot=snapshot,
        validation=validated.outputs["report"],
        trials=searched.outputs["trials"],
        evaluation=evaluated.outputs["evaluation"],
        bundle=evaluated.outputs["bundle"],
        page=reported.outputs["page"],
        card=reported.outputs["card"],
        audit=reported.outputs["audit"],
        decision=evaluated.outputs["Output"],
    )


def _on_this_machine(image: str) -> dsl.base_component.BaseComponent:
    @dsl.pipeline(name=PIPELINE, description=_DESCRIPTION)
    def retrain(
        name: str,
        config: str,
        data: str,
        validation: str,
        features: str,
        search_settings: str,
        cluster: str,
        policy: str,
        baseline: str,
        approval: str,
        model_store: str,
        digests: str,
        source_digest: str,
        reference_digest: str,
        code_digest: str,
        run_digest: str,
    ) -> RetrainOutputs:
        return _steps(locals(), lambda task, _: task.set_container_image(image))

    return retrain


def _on_cluster(
    image: str, search_image: str, object_store_secret: str | None
) -> dsl.base_component.BaseComponent:
    @dsl.pipeline(name=PIPELINE, description=_DESCRIPTION)
    def retrain(
        config: str,
        workspace: str = WORKSPACE,
        workspace_claim: str = "tidegate-workspace",
        cpu: str = "2",
        memory: str = "4Gi",
        node_selector: dict[str, Any] = {},  # noqa: B006
        tolerations: list[Any] = [],  # noqa: B006
        node_affinity: dict[str, Any] = {},  # noqa: B006
        search_cpu: str = "2",
        search_memory: str = "4Gi",
        search_gpu_type: str = "nvidia.com/gpu",
        search_gpus: str = "0",
        search_node_selector: dict[str, Any] = {},  # noqa: B006
        search_tolerations: list[Any] = [],  # noqa: B006
        search_node_affinity: dict[str, Any] = {},  # noqa: B006
    ) -> None:
        placed = (node_selector, tolerations, node_affinity)
        searched = (search_node_selector, search_tolerations, search_node_affinity)

        def place(task: dsl.PipelineTask, step: str) -> dsl.PipelineTask:
            searching = step == "search"
            if searching:
                # Resources do not register what they read, and an exit handler passes into its
                # steps only what is registered.
                task.register_pipeline_channels([search_gpu_type, search_gpus])
                task.set_accelerator_type(search_gpu_type).set_accelerator_limit(search_gpus)
            put(
                task,
                Room(search_cpu, search_memory, *searched)
                if searching
                else Room(cpu, memory, *placed),
                workspace_claim=workspace_claim,
                object_store_secret=object_store_secret,
                repeatable=step != "record-outcome",
            )
            return task.set_container_image(search_image if searching else image)

        ended = place(record_outcome(workspace=workspace), "record-outcome")
        with dsl.ExitHandler(ended.set_caching_options(False), name="retrain"):
            # Never from the cache: what it digests may have changed behind the same address.
            planned = place(plan(config=config, workspace=workspace), "plan")
            _steps(planned.set_caching_options(False).outputs, place, on_cluster=config)

    return retrain
