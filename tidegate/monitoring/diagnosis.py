"""What kind of change a window shows, in words and figures that a person on call can use.

Alarms come from calibrated tests and from intervals on labelled rows alone. What is told apart
here is what such an alarm is about, by asking of each kind of change whether it would be enough
(`tidegate.monitoring.hypotheses`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tidegate.config import MonitorConfig, PolicyConfig
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.prior_shift import estimate_prior_shift, offer_threshold
from tidegate.monitoring.hypotheses import (
    NewInputs,
    explained,
    is_input,
    weights_of_inputs,
    weights_of_mix,
)
from tidegate.monitoring.quality import (
    breaks_floor,
    disagreeing,
    expected_quality,
    labelled_quality,
)
from tidegate.monitoring.renewal import next_window
from tidegate.monitoring.wording import evidence_of, sentence_of
from tidegate.records import (
    SCORE,
    Cause,
    ChangeKind,
    Diagnosis,
    DriftReport,
    LabelledQuality,
    PriorShift,
    Signal,
    ThresholdOffer,
)

Values = npt.NDArray[np.float64]

#: Tests of many features together: what they name is led by one of them, not each moved.
_TOGETHER = ("classifier", "outlier", "spot_the_diff")
_SAME, _MIX, _INPUTS = "no change", "new share of violating posts", "new inputs"
_ASSUMPTIONS: dict[ChangeKind, str] = {
    "none": "a score means what it meant in the reference",
    "prior_shift": "violating posts look as they did, and harmless posts too; only their mix moved",
    "covariate_shift": "a post of given content violates as often as it did in the reference",
}
_CAUSES: dict[ChangeKind, Cause] = {
    "covariate_shift": "covariate_shift",
    "prior_shift": "prior_shift",
    "concept_drift": "concept_drift",
    "quality_loss": "quality_loss",
    "unclear": "unclear",
}


class _Facts(NamedTuple):
    """What the kinds of change are told apart by."""

    drifted: bool
    moved: tuple[str, ...]
    prior: PriorShift | None
    mix_explains_inputs: float | None
    labelled: LabelledQuality | None


def estimate_mix(
    reference: Any, window: Any, *, policy: PolicyConfig, config: MonitorConfig
) -> PriorShift | None:
    """Estimate a window's share of violating posts; None where the reference cannot tell it."""
    if "label" not in reference or reference["label"].nunique() < 2 or len(window) == 0:
        return None
    return estimate_prior_shift(
        reference[SCORE],
        reference["label"],
        window[SCORE],
        confidence=max(config.confidence, policy.confidence),
        weights=reference.get("weight"),
        seed=config.seed,
    )


def diagnose(
    reference: Any,
    window: Any,
    tests: DriftReport,
    labelled: Any,
    prior: PriorShift | None,
    *,
    policy: PolicyConfig,
    config: MonitorConfig,
    threshold: float | None,
    label_error: float | None = None,
) -> Diagnosis:
    """Say what kind of change a window shows.

    Parameters
    ----------
    reference : DataFrame
        What is watched of the bundle's reference, with `label` and perhaps `weight`.
    window : DataFrame
        What is watched of the window; an index of strings names its rows in examples.
    tests : DriftReport
        Of these two.
    labelled : DataFrame or None
        Rows whose labels came, see `tidegate.monitoring.quality.labelled_quality`.
    prior : PriorShift or None
        Of the window's scores.
    policy : PolicyConfig
        Its promise.
    config : MonitorConfig
        What counts as explained, and how much is named.
    threshold : float or None
        In service.
    label_error : float, optional
        Chance that labelled rows alone raise a false alarm; the tests' level without it.
    """
    trust = reference["weight"].to_numpy(np.float64) if "weight" in reference else _ones(reference)
    moved = _moved(tests)
    inputs = weights_of_inputs(reference, window, seed=config.seed)
    mass = {_SAME: trust, _INPUTS: trust * inputs.weights}
    explains = None
    if prior is not None:
        violating = reference["label"].to_numpy() == 1
        mass[_MIX] = weights_of_mix(violating, trust, prior.prevalence)
        explains = explained(
            reference, window, [n for n in moved if is_input(n)], mass[_MIX], trust
        )
    quality = None
    if labelled is not None and len(labelled) and "label" in reference:
        error = label_error or tests.level or 1 - config.confidence
        quality = labelled_quality(
            reference, labelled, hypotheses=mass, threshold=threshold, error=error
        )
    facts = _Facts(tests.drifted, moved, prior, explains, quality)
    kind = _kind(facts, policy, config)
    offer = _offer(reference, prior, policy, threshold) if kind == "prior_shift" else None
    expected = None
    if "label" in reference and kind in _ASSUMPTIONS:
        under = {"prior_shift": _MIX, "covariate_shift": _INPUTS}.get(kind, _SAME)
        expected = expected_quality(
            reference,
            window,
            weights=mass[under],
            threshold=threshold,
            confidence=config.confidence,
            assumption=_ASSUMPTIONS[kind],
            seed=config.seed,
        )
    found = Diagnosis(
        kind=kind,
        says="",
        evidence=(),
        moved_features=moved[: config.moved_features],
        example_ids=_examples(kind, window, labelled, inputs, config.examples),
        prior=prior,
        mix_explains=None if prior is None else prior.explained_share,
        mix_explains_inputs=explains,
        expected=expected,
        labelled=quality,
        offer=offer,
        next_window=None
        if prior is None
        else next_window(reference, window, policy=policy, threshold=threshold),
    )
    says = sentence_of(found, policy)
    return found.model_copy(update={"says": says, "evidence": evidence_of(found, tests, policy)})


def signals_of(diagnosis: Diagnosis, *, model: str, window: str) -> tuple[Signal, ...]:
    """Return what a trigger should know of a window; nothing where nothing changed."""
    cause = _CAUSES.get(diagnosis.kind)
    if cause is None:
        return ()
    evidence: dict[str, Any] = {"moved_features": list(diagnosis.moved_features)}
    if diagnosis.prior is not None:
        evidence["prevalence"] = diagnosis.prior.prevalence
    if diagnosis.offer is not None and diagnosis.offer.offered is not None:
        evidence["offered_threshold"] = diagnosis.offer.offered.value
    says = diagnosis.says
    return (Signal(model=model, window=window, cause=cause, says=says, evidence=evidence),)


def _kind(facts: _Facts, policy: PolicyConfig, config: MonitorConfig) -> ChangeKind:
    """Tell the kinds of change apart; see the module's words."""
    refuted: dict[str, bool] = {}
    broken = False
    if facts.labelled is not None:
        names = facts.labelled.expected
        refuted = {name: bool(disagreeing(facts.labelled, name)) for name in names}
        broken = breaks_floor(facts.labelled, policy.min_precision)
        if refuted and all(refuted.values()):
            return "concept_drift"
    if facts.drifted or broken:
        if _is_mix(facts, config) and not refuted.get(_MIX, False):
            return "prior_shift"
        if any(is_input(name) for name in facts.moved) and not refuted.get(_INPUTS, False):
            return "covariate_shift"
    if broken:
        return "quality_loss"
    return "unclear" if facts.drifted or refuted.get(_SAME, False) else "none"


def _is_mix(facts: _Facts, config: MonitorConfig) -> bool:
    """Whether a new share of violating posts explains the scores, and the inputs agree.

    Of inputs much may move that the model takes no notice of: a part of it is enough. A shift of
    other inputs leaves the share that the scores tell where it was, or none of it explained.
    """
    prior = facts.prior
    if prior is None or prior.interval[0] <= prior.reference_prevalence <= prior.interval[1]:
        return False
    inputs = facts.mix_explains_inputs
    return prior.explained_share >= config.mix_explains and (
        inputs is None or inputs >= config.mix_explains_inputs
    )


def _offer(
    reference: Any, prior: PriorShift | None, policy: PolicyConfig, threshold: float | None
) -> ThresholdOffer | None:
    if prior is None or policy.objective != "max_recall":
        return None
    rows = rows_of(reference, "drift reference")
    return offer_threshold(rows, prior, policy=policy, threshold=threshold)


def _moved(tests: DriftReport) -> tuple[str, ...]:
    """Return what moved: by tests of single features, else what tells sides or rows apart by."""
    found = [n for t in tests.tests if t.name not in _TOGETHER for n in t.moved_features]
    if not any(is_input(name) for name in found):
        found += [n for t in tests.tests if t.name in _TOGETHER for n in t.moved_features]
    return tuple(dict.fromkeys(found))


def _examples(
    kind: ChangeKind, window: Any, labelled: Any, inputs: NewInputs, count: int
) -> tuple[str, ...]:
    """Name the rows that show a change best: the most surprising labels, or the newest inputs."""
    if kind == "none" or not count:
        return ()
    if kind in ("concept_drift", "quality_loss") and labelled is not None:
        gap = (labelled["label"] - labelled[SCORE]).abs().to_numpy(np.float64)
        return _named(labelled, np.argsort(-gap, kind="stable")[:count])
    return _named(window, np.argsort(-inputs.typical, kind="stable")[:count])


def _named(table: Any, rows: Sequence[Any] | npt.NDArray[Any]) -> tuple[str, ...]:
    if table.index.dtype != object:
        return ()
    return tuple(str(name) for name in table.index[rows])


def _ones(table: Any) -> Values:
    return np.ones(len(table))
