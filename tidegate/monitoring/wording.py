"""A diagnosis in words: one sentence for the person on call, and figures behind it."""

from tidegate.config import PolicyConfig
from tidegate.evaluation.decision import percent, span
from tidegate.records import Diagnosis, DriftReport, LabelledQuality, WindowCheck


def sentence_of(found: Diagnosis, policy: PolicyConfig) -> str:
    """Say in one sentence what changed and what that means."""
    write = {
        "none": _none,
        "prior_shift": _prior,
        "covariate_shift": _covariate,
        "concept_drift": _concept,
        "quality_loss": _loss,
        "unclear": _unclear,
    }
    return write[found.kind](found, policy)


def evidence_of(found: Diagnosis, tests: DriftReport, policy: PolicyConfig) -> tuple[str, ...]:
    """Return the figures behind a diagnosis, a line each."""
    alarms = [test for test in tests.tests if test.drifted]
    lines = [
        f"{test.name}: p = {test.p_value:.2g}, alarm at {test.threshold:.2g}"
        + (f", moved most: {', '.join(test.moved_features)}" if test.moved_features else "")
        for test in alarms
    ]
    if not alarms:
        lines.append(f"none of {len(tests.tests)} tests of inputs and scores alarms")
    prior = found.prior
    if prior is not None:
        lines.append(
            f"{percent(prior.prevalence)} of posts violate by their scores "
            f"({span(prior.interval)}), {percent(prior.reference_prevalence)} in the reference; "
            f"that explains {percent(max(0.0, prior.explained_share))} of the scores' move"
        )
    if found.mix_explains_inputs is not None:
        share = percent(max(0.0, found.mix_explains_inputs))
        lines.append(f"it explains {share} of the move of the inputs that moved")
    if found.expected is not None and found.expected.precision is not None:
        expected = found.expected
        interval = "" if expected.precision_interval is None else span(expected.precision_interval)
        lines.append(
            f"expected precision {percent(expected.precision or 0.0)} ({interval}), "
            f"recall {percent(expected.recall or 0.0)}, if {expected.assumption}"
        )
    if found.labelled is not None:
        lines += _labelled_lines(found.labelled, policy)
    offer = found.offer
    if offer is not None and offer.offered is None:
        lines.append("no threshold keeps the promise at the new share on these rows")
    if offer is not None and offer.offered is not None:
        lines.append(
            f"threshold {offer.offered.value:.4g} keeps a precision of "
            f"{percent(policy.min_precision)} with confidence {percent(policy.confidence)} at a "
            f"share of {percent(offer.prevalence_assumed)}"
        )
    return tuple(lines)


def _labelled_lines(quality: LabelledQuality, policy: PolicyConfig) -> list[str]:
    lines = [f"{quality.rows:,} labelled rows, {quality.flagged:,} of them flagged"]
    if quality.precision is not None and quality.precision_interval is not None:
        lines.append(
            f"their precision is {percent(quality.precision)} ({span(quality.precision_interval)})"
            f", promised are {percent(policy.min_precision)}"
        )
    for side, (low, high) in quality.residuals.items():
        there = ", ".join(
            f"{name} {sides[side][0]:+.3f} to {sides[side][1]:+.3f}"
            for name, sides in quality.expected.items()
        )
        lines.append(f"label less score of {side} rows {low:+.3f} to {high:+.3f}; expected {there}")
    return lines


def _none(found: Diagnosis, policy: PolicyConfig) -> str:
    return "Nothing shows that the window differs from what the model was checked on."


def _prior(found: Diagnosis, policy: PolicyConfig) -> str:
    assert found.prior is not None
    prior, offer = found.prior, found.offer
    fell = "fell" if prior.prevalence < prior.reference_prevalence else "rose"
    says = (
        f"The share of violating posts {fell} from {percent(prior.reference_prevalence)} to about "
        f"{percent(prior.prevalence)}, which explains how the scores moved"
    )
    if offer is None:
        return f"{says}."
    if offer.offered is None:
        return f"{says}; no threshold keeps the promised precision on these rows."
    if offer.in_service_keeps_promise:
        return f"{says}; the threshold in service still keeps the promise."
    return (
        f"{says}; a threshold of {offer.offered.value:.4g} keeps the promised precision, the one "
        f"in service does not."
    )


def _covariate(found: Diagnosis, policy: PolicyConfig) -> str:
    moved = ", ".join(found.moved_features[:3])
    says = f"Posts look different from those of training ({moved} moved most)"
    if found.labelled is None:
        return f"{says}; no labels say yet whether the model still judges them right."
    return f"{says}; on labelled rows the model judges as well as that lets expect."


def _concept(found: Diagnosis, policy: PolicyConfig) -> str:
    assert found.labelled is not None
    quality = found.labelled
    says = "The same posts are judged otherwise than in training"
    if quality.precision is not None:
        says += f": of labelled flagged posts {percent(quality.precision)} violate"
    return f"{says}, which no new mix and no new inputs explain; the model has to learn anew."


def _loss(found: Diagnosis, policy: PolicyConfig) -> str:
    assert found.labelled is not None
    precision = found.labelled.precision or 0.0
    return (
        f"Of labelled flagged posts only {percent(precision)} violate where "
        f"{percent(policy.min_precision)} are promised, and no single change explains it."
    )


def _unclear(found: Diagnosis, policy: PolicyConfig) -> str:
    if found.moved_features and found.labelled is None:
        return (
            "Scores or posts moved in a way that no single change explains; labels of this window "
            "would tell."
        )
    return "Something moved that no single change explains; look at the example rows."


def line_of(check: WindowCheck) -> str:
    """Return one line on a check, for a log or a terminal."""
    of = f" of {check.segment}" if check.segment else ""
    windows = "window" if check.scale == 1 else f"{check.scale} windows"
    kind = check.status if check.diagnosis is None else check.diagnosis.kind
    return f"{windows} until {check.until[:16]}{of}, {check.rows:,} rows: {kind}: {check.says}"
