"""A cascade's bundle as two, for a filter and a heavy model that scale apart."""

from pathlib import Path

from tidegate.errors import BadInput
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle, with_decision_rule, write_bundle
from tidegate.models.cascade import Cascade, Stage
from tidegate.records import BundleManifest, DecisionRule
from tidegate.store import read_table


def split_cascade(source: Path, filter_out: Path, heavy_out: Path) -> None:
    """Write the filter and the heavy model of a cascade's bundle as bundles of their own.

    The filter, ``NAME-filter``, flags what passes: its threshold is the pass-through score at rest.
    A row that it does not flag is not flagged by the cascade either, and has the cascade's score.
    The heavy one has the cascade's name, threshold and rule.

    Parameters
    ----------
    source : Path
        A bundle that has been evaluated.
    filter_out, heavy_out : Path
        Where the two go.

    Raises
    ------
    BadInput
        If `source` is no whole bundle of a cascade.
    """
    bundle = load_bundle(source)
    manifest, model = bundle.manifest, bundle.model
    if not isinstance(model, Cascade):
        problem = f"holds a model of {manifest.algorithm!r}, no cascade"
        raise BadInput(str(source), problem, "set policy.cascade and run the pipeline again")
    cut = model.curve[0].pass_through
    _write(source, filter_out, model.light, manifest, f"{manifest.name}-filter", cut)
    heavy = model.heavy
    _write(source, heavy_out, heavy, manifest, manifest.name, manifest.threshold, manifest.rule)


def _write(
    source: Path,
    out: Path,
    stage: Stage,
    of: BundleManifest,
    name: str,
    threshold: float | None,
    rule: DecisionRule | None = None,
) -> None:
    write_bundle(
        out,
        name=name,
        algorithm=stage.algorithm,
        params=stage.params,
        model=stage.model,
        featurizer_folder=source / "featurizer",
        columns=of.inputs,
        snapshot_digest=of.snapshot_digest,
        source_digest=of.source_digest,
        target=of.target,
        history=of.history,
        drift_reference=read_table(source / DRIFT_REFERENCE),
    )
    promised = 0.0 if rule is None else of.min_precision or 0.0
    with_decision_rule(
        out,
        out,
        threshold=threshold,
        min_precision=promised,
        confidence=of.confidence or 0.0,
        rule=rule,
    )
