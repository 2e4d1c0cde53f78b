"""The retrain pipeline: one DAG for this machine and for a cluster."""

from typing import NamedTuple

from kfp import dsl

from components.assemble import assemble
from components.evaluate import evaluate
from components.featurize import featurize
from components.ingest import ingest
from components.release import release
from components.report import report
from components.search import search
from components.validate import validate


class RetrainOutputs(NamedTuple):
    """What a finished run hands on."""

    snapshot: dsl.Dataset
    validation: dsl.Artifact
    trials: dsl.Artifact
    evaluation: dsl.Artifact
    bundle: dsl.Model
    page: dsl.HTML
    card: dsl.Markdown
    decision: str


def build_retrain(image: str) -> dsl.base_component.BaseComponent:
    """Return the pipeline with every step in `image`.

    Parameters
    ----------
    image : str
        Image that has Tidegate installed, pinned by digest on a cluster.
    """

    @dsl.pipeline(name="tidegate-retrain", description="Data to a released classifier.")
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
        ingested = ingest(
            name=name, data=data, source_digest=source_digest, code_digest=code_digest
        ).set_container_image(image)
        snapshot = ingested.outputs["snapshot"]
        validated = validate(
            data=data,
            validation=validation,
            reference_digest=reference_digest,
            code_digest=code_digest,
            snapshot=snapshot,
        ).set_container_image(image)
        featurized = (
            featurize(features=features, code_digest=code_digest, snapshot=snapshot)
            .set_container_image(image)
            .after(validated)
        )
        searched = search(
            search=search_settings,
            cluster=cluster,
            code_digest=code_digest,
            feature_set=featurized.outputs["feature_set"],
        ).set_container_image(image)
        assembled = assemble(
            name=name,
            baseline=baseline,
            code_digest=code_digest,
            snapshot=snapshot,
            feature_set=featurized.outputs["feature_set"],
            trials=searched.outputs["trials"],
        ).set_container_image(image)
        evaluated = evaluate(
            policy=policy, code_digest=code_digest, candidate=assembled.outputs["candidate"]
        ).set_container_image(image)
        reported = report(
            config=config,
            digests=digests,
            code_digest=code_digest,
            snapshot=snapshot,
            validation=validated.outputs["report"],
            trials=searched.outputs["trials"],
            evaluation=evaluated.outputs["evaluation"],
        ).set_container_image(image)
        with dsl.If(evaluated.outputs["Output"] == "promote", name="promoted"):  # noqa: SIM117
            with dsl.If(approval == "auto", name="approved"):
                # Never from the cache: the store may have moved on since the last run.
                release(
                    model_store=model_store,
                    run_digest=run_digest,
                    code_digest=code_digest,
                    bundle=evaluated.outputs["bundle"],
                ).set_container_image(image).after(reported).set_caching_options(False)
        return RetrainOutputs(
            snapshot=snapshot,
            validation=validated.outputs["report"],
            trials=searched.outputs["trials"],
            evaluation=evaluated.outputs["evaluation"],
            bundle=evaluated.outputs["bundle"],
            page=reported.outputs["page"],
            card=reported.outputs["card"],
            decision=evaluated.outputs["Output"],
        )

    return retrain
