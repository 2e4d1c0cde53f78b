"""Whether the candidate is right less often than the baseline: golden rows, labels, appeals."""

from collections.abc import Iterator

import numpy as np

from tidegate.config import RolloutConfig
from tidegate.evaluation.decision import percent, points
from tidegate.evaluation.sequential import (
    Bounds,
    MeanSums,
    difference_above,
    difference_bounds,
    mean_bounds,
    paired_above,
    paired_bounds,
    share_bounds,
)
from tidegate.records import Finding
from tidegate.rollout.budget import Budget, Family, Horizon, Sums
from tidegate.rollout.evidence import Appeals, GoldenRows, LabelledRows, QualityEvidence
from tidegate.rollout.findings.decisions import count_groups, worst_groups
from tidegate.rollout.findings.judgement import Reading, judge

# Different rows of one time: what moves with time moves both versions' rows of a step alike.
_HORIZONS: tuple[Horizon, ...] = ("step", "interval")


def quality_findings(
    quality: QualityEvidence, config: RolloutConfig, budget: Budget
) -> tuple[Finding, ...]:
    """Judge what labels say; where there are none, nothing is found."""
    findings: list[Finding] = []
    if quality.golden is not None and quality.golden.label.size:
        findings += _golden(quality.golden, config, budget)
    if quality.labels is not None and quality.labels.label.size:
        findings.append(_precision(quality.labels, config, budget))
        findings += _group_precision(quality.labels, config, budget)
    if quality.appeals is not None:
        findings.append(_appeals(quality.appeals, config, budget))
    return tuple(findings)


def _golden(g: GoldenRows, config: RolloutConfig, budget: Budget) -> Iterator[Finding]:
    """Judge rows that are the same at every look: they are counted once, not again and again."""
    label, mine, theirs = (
        np.asarray(a, bool) for a in (g.label, g.candidate_flagged, g.baseline_flagged)
    )
    lost, won = (label & theirs & ~mine).sum(), (label & mine & ~theirs).sum()
    margin = config.quality.max_recall_loss
    violating = float(label.sum())
    sums = budget.once("golden recall", (lost, won, violating))
    evidence = float(paired_above(lost, won, violating, margin))
    verdict, _ = judge(
        [Reading(sums, evidence)], log_doubt=evidence, doubt_share=config.doubt_share
    )
    low, high = paired_bounds(lost, won, violating, sums.error)
    found, found_there = (label & mine).sum(), (label & theirs).sum()
    rows = max(int(label.sum()), 1)
    yield Finding(
        source="quality",
        name="golden recall",
        verdict=verdict,
        says=f"{found} of {label.sum()} violating golden rows are flagged, {found_there} by the "
        f"baseline; a loss of {points(margin)} is bearable",
        candidate=float(found / rows),
        baseline=float(found_there / rows),
        interval=(-float(high), -float(low)),
        bound=-margin,
        rows=int(label.sum()),
    )
    wrong, wrong_there = (~label & mine).sum(), (~label & theirs).sum()
    yield _less_precise(
        "golden precision",
        [
            budget.once(
                "golden precision",
                (*_binary(wrong, mine.sum()), *_binary(wrong_there, theirs.sum())),
            )
        ],
        config,
        same_rows=True,
    )


def _precision(rows: LabelledRows, config: RolloutConfig, budget: Budget) -> Finding:
    wrong, weight = ~np.asarray(rows.label, bool), np.asarray(rows.weight, float)
    mine = np.asarray(rows.flagged, bool) & np.asarray(rows.by_candidate, bool)
    theirs = np.asarray(rows.flagged, bool) & ~np.asarray(rows.by_candidate, bool)
    fresh = [
        *MeanSums.of(wrong[mine], weight[mine]).as_list(),
        *MeanSums.of(wrong[theirs], weight[theirs]).as_list(),
    ]
    tests = budget.add("precision", fresh, horizons=_HORIZONS)
    return _less_precise("precision", tests, config, max_weight=rows.max_weight)


def _group_precision(
    rows: LabelledRows, config: RolloutConfig, budget: Budget
) -> tuple[Finding, ...]:
    """Compare groups by counts: weights would need a bound of their own in each."""
    if rows.max_weight > 1:
        return ()
    flagged, mine = np.asarray(rows.flagged, bool), np.asarray(rows.by_candidate, bool)
    wrong = ~np.asarray(rows.label, bool)
    counts: dict[str, list[float]] = {}
    chosen = (wrong & flagged & mine, flagged & mine, wrong & flagged & ~mine, flagged & ~mine)
    for column, values in rows.groups.items():
        for place, rows_chosen in enumerate(chosen):
            for name, count in count_groups(column, values, rows_chosen).items():
                counts.setdefault(name, [0.0] * 4)[place] += count
    findings = []
    for name in dict.fromkeys([*budget.members("group precision"), *sorted(counts)]):
        k, n, j, m = counts.get(name, [0.0] * 4)
        fresh = (*_binary(k, n), *_binary(j, m))
        tests = budget.add("group precision", fresh, horizons=_HORIZONS, member=name)
        findings.append(_less_precise("group precision", tests, config, member=name))
    return worst_groups(findings)


def _less_precise(
    family: Family,
    tests: "tuple[Sums, ...] | list[Sums]",
    config: RolloutConfig,
    *,
    max_weight: float = 1.0,
    same_rows: bool = False,
    member: str = "",
) -> Finding:
    """Judge the share of flagged rows that is wrong: sums of the candidate, then the baseline."""
    margin = config.quality.max_precision_loss
    by_bounds = same_rows or max_weight > 1

    def evidence(sums: Sums, error: float) -> float:
        mine, theirs = MeanSums(*sums.values[:6]), MeanSums(*sums.values[6:])
        if not by_bounds:
            return float(difference_above(mine.wx, mine.w, theirs.wx, theirs.w, margin))
        # Streams that are not independent, or weighted: their own intervals must lie apart.
        low, high = _bounds(sums, error, max_weight)
        return np.inf if low[0] > high[1] + margin else -np.inf

    readings = [Reading(sums, evidence(sums, sums.error)) for sums in tests]
    verdict, sums = judge(
        readings,
        log_doubt=evidence(tests[0], config.doubt_share),
        doubt_share=config.doubt_share,
    )
    mine, theirs = MeanSums(*sums.values[:6]), MeanSums(*sums.values[6:])
    right, right_there = float(1 - mine.mean), float(1 - theirs.mean)
    told = _told(right), _told(right_there)
    interval = None
    if not by_bounds and (verdict != "advance" or not member):
        low, high = difference_bounds(theirs.wx, theirs.w, mine.wx, mine.w, sums.error)
        interval = (float(low), float(high))
    of = f" of {member}" if member else ""
    return Finding(
        source="quality",
        name=f"{family}: {member}" if member else family,
        verdict=verdict,
        says=f"{told[0]} of {mine.rows:,.0f} labelled rows{of} that it flagged are violating, "
        f"{told[1]} of the baseline's {theirs.rows:,.0f}; a loss of {points(margin)} is bearable",
        candidate=None if np.isnan(right) else right,
        baseline=None if np.isnan(right_there) else right_there,
        interval=interval,
        bound=-margin,
        rows=int(mine.rows),
    )


def _appeals(appeals: Appeals, config: RolloutConfig, budget: Budget) -> Finding:
    fresh = (
        appeals.candidate_upheld,
        appeals.candidate_flagged,
        appeals.baseline_upheld,
        appeals.baseline_flagged,
    )
    margin = config.quality.max_appeal_rise
    readings = []
    # An appeal comes late. The candidate's posts are the younger ones, so that its share is, if
    # anything, too small for now.
    for sums in budget.add("appeals", fresh, horizons=("release",)):
        k, n, j, m = sums.values
        evidence = difference_above(min(k, n), n, min(j, m), m, margin)
        readings.append(Reading(sums, float(evidence)))
    verdict, sums = judge(
        readings, log_doubt=readings[0].log_evidence, doubt_share=config.doubt_share
    )
    k, n, j, m = sums.values
    low, high = difference_bounds(min(k, n), n, min(j, m), m, sums.error)
    return Finding(
        source="quality",
        name="appeals",
        verdict=verdict,
        says=f"{k:,.0f} of {n:,.0f} posts that it flagged were won back on appeal, {j:,.0f} of the "
        f"baseline's {m:,.0f}; a rise of {points(margin)} is bearable",
        candidate=k / n if n else None,
        baseline=j / m if m else None,
        interval=(float(low), float(high)),
        bound=margin,
        rows=int(n),
    )


def _binary(hits: float, rows: float) -> tuple[float, ...]:
    """Return `MeanSums` of counts: every weight 1, every value 0 or 1."""
    k, n = float(hits), float(rows)
    return (n, n, k, n, k, k)


def _bounds(sums: Sums, error: float, max_weight: float) -> Bounds:
    """Return the ends of both versions' shares, the candidate's first."""
    both = MeanSums(*np.asarray(sums.values).reshape(2, 6).T)
    if max_weight > 1:
        return mean_bounds(both, error, max_weight=max_weight)
    return share_bounds(both.wx, both.w, error)


def _told(share: float) -> str:
    return "none" if np.isnan(share) else percent(float(share))
