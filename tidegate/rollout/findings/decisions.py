"""How the candidate decides rows that the baseline has decided too."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tidegate.config import PolicyConfig, RolloutConfig
from tidegate.evaluation.decision import percent
from tidegate.evaluation.sequential import (
    MeanSums,
    mean_above,
    mean_bounds,
    paired_above,
    paired_bounds,
    share_above,
    share_bounds,
)
from tidegate.records import Finding
from tidegate.rollout.budget import Budget, Family, Horizon
from tidegate.rollout.evidence import BoolArray, Decisions, Groups
from tidegate.rollout.findings.judgement import VERDICTS, Reading, judge

# Both versions answer the same rows, so that nothing that moves with time tells them apart.
_HORIZONS: tuple[Horizon, ...] = ("release", "step", "interval")
_GROUPS_TOLD = 5


def decision_findings(
    decisions: Decisions, config: RolloutConfig, budget: Budget, *, policy: PolicyConfig | None
) -> tuple[Finding, ...]:
    """Judge flips, failures, scores and the review queue of rows answered by both versions."""
    d = decisions
    candidate, baseline = (
        np.asarray(d.candidate_decision, str),
        np.asarray(d.baseline_decision, str),
    )
    finite, finite_there = np.isfinite(d.candidate_score), np.isfinite(d.baseline_score)
    both = ~d.candidate_failed & ~d.baseline_failed & finite & finite_there
    flipped = both & (candidate != baseline)
    queue = "review" if d.review_band else "flagged"
    findings = [
        *_not_finite(~finite & ~d.candidate_failed, ~finite_there & ~d.baseline_failed),
        _failures(d, config, budget),
        _flips(flipped, both, config, budget),
        *_group_flips(d, flipped, both, config, budget),
        _score_shift((d.candidate_score - d.baseline_score)[both], config, budget),
    ]
    if policy is not None and policy.review_capacity and policy.posts_per_day:
        per_row = policy.review_capacity / policy.posts_per_day
        mine, theirs = both & (candidate == queue), both & (baseline == queue)
        fresh = ((mine & ~theirs).sum(), (theirs & ~mine).sum(), mine.sum(), both.sum())
        findings.append(
            _review_volume(tuple(map(float, fresh)), per_row, policy.posts_per_day, config, budget)
        )
    return tuple(findings)


def _not_finite(candidate: BoolArray, baseline: BoolArray) -> Iterator[Finding]:
    count, others = int(candidate.sum()), int((candidate & baseline).sum())
    if count:
        yield Finding(
            source="decisions",
            name="finite scores",
            verdict="rollback" if count > others else "pause",
            says=f"{count:,} of {candidate.size:,} scores are no finite number; none may be",
            candidate=float(count),
            baseline=float(baseline.sum()),
            bound=0.0,
            rows=int(candidate.size),
        )


def _failures(d: Decisions, config: RolloutConfig, budget: Budget) -> Finding:
    only, only_there = (
        d.candidate_failed & ~d.baseline_failed,
        d.baseline_failed & ~d.candidate_failed,
    )
    fresh = (only.sum(), only_there.sum(), d.candidate_failed.size)
    limit = config.ops.max_error_share
    tests = budget.add("replay failures", fresh, horizons=_HORIZONS)
    readings = []
    for sums in tests:
        gains, losses, rows = sums.values
        readings.append(Reading(sums, float(paired_above(gains, losses, rows, limit))))
    verdict, sums = judge(
        readings, log_doubt=readings[0].log_evidence, doubt_share=config.doubt_share
    )
    gains, losses, rows = sums.values
    low, high = paired_bounds(gains, losses, rows, sums.error)
    return Finding(
        source="decisions",
        name="replay failures",
        verdict=verdict,
        says=f"the candidate alone failed on {gains:,.0f} of {rows:,.0f} replayed rows, "
        f"the baseline alone on {losses:,.0f}; {percent(limit)} more is bearable",
        candidate=gains / rows if rows else None,
        baseline=losses / rows if rows else None,
        interval=(float(low), float(high)),
        bound=limit,
        rows=int(rows),
    )


def _flips(flipped: BoolArray, both: BoolArray, config: RolloutConfig, budget: Budget) -> Finding:
    found = _share(
        "flips",
        (float(flipped.sum()), float(both.sum())),
        config.quality.max_flip_share,
        config,
        budget,
        of="replayed rows",
    )
    seen = budget.release_sums("replayed rows", (float(both.sum()),))[0]
    least = config.quality.min_shadow_rows
    if seen < least and found.verdict == "advance":
        says = f"{seen:,.0f} rows were replayed, fewer than the {least:,} that a verdict needs"
        return found.model_copy(update={"verdict": "pause", "says": says})
    return found


def _group_flips(
    d: Decisions, flipped: BoolArray, both: BoolArray, config: RolloutConfig, budget: Budget
) -> tuple[Finding, ...]:
    """Judge every group met so far, also those that sent nothing since."""
    rows: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for column, values in d.groups.items():
        rows += count_groups(column, values, both)
        hits += count_groups(column, values, flipped)
    names = [*budget.members("group flips"), *sorted(rows)]
    findings = [
        _share(
            "group flips",
            (float(hits[name]), float(rows[name])),
            config.quality.max_group_flip_share,
            config,
            budget,
            member=name,
            of=f"replayed rows of {name}",
        )
        for name in dict.fromkeys(names)
    ]
    return worst_groups(findings)


def worst_groups(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return what is found of groups: those at fault, or the one that comes nearest to it."""

    def harm(found: Finding) -> float:
        value = found.candidate or 0.0
        return value if found.baseline is None else found.baseline - value

    ordered = sorted(findings, key=lambda f: (-VERDICTS.index(f.verdict), -harm(f), f.name))
    at_fault = [found for found in ordered if found.verdict != "advance"]
    return tuple(at_fault[:_GROUPS_TOLD] or ordered[:1])


def count_groups(column: str, values: Groups, chosen: BoolArray) -> Counter[str]:
    """Count chosen rows by group, named ``column=group``; a row may be in several groups."""
    found: Counter[str] = Counter()
    for place in np.flatnonzero(chosen):
        value = values[int(place)]
        found.update(f"{column}={one}" for one in ((value,) if isinstance(value, str) else value))
    return found


def _share(
    family: Family,
    fresh: tuple[float, float],
    limit: float,
    config: RolloutConfig,
    budget: Budget,
    *,
    of: str,
    member: str = "",
) -> Finding:
    """Judge a share of rows that has a limit of its own."""
    tests = budget.add(family, fresh, horizons=_HORIZONS, member=member)
    readings = []
    for sums in tests:
        hits, rows = sums.values
        readings.append(Reading(sums, float(share_above(hits, rows, limit))))
    verdict, sums = judge(
        readings, log_doubt=readings[0].log_evidence, doubt_share=config.doubt_share
    )
    hits, rows = sums.values
    interval = None
    if verdict != "advance" or not member:
        low, high = share_bounds(hits, rows, sums.error)
        interval = (float(low), float(high))
    told = percent(hits / rows) if rows else "none"
    return Finding(
        source="decisions",
        name=f"{family}: {member}" if member else family,
        verdict=verdict,
        says=f"{told} of {rows:,.0f} {of} are decided otherwise; {percent(limit)} is allowed",
        candidate=hits / rows if rows else None,
        interval=interval,
        bound=limit,
        rows=int(rows),
    )


def _score_shift(moved: object, config: RolloutConfig, budget: Budget) -> Finding:
    """Judge how far the mean score moved, either way, where that has a limit."""
    limit = config.quality.max_score_shift
    tests = budget.add("score shift", MeanSums.of(moved).as_list(), horizons=_HORIZONS)
    wide = {"low": -1.0, "high": 1.0}
    readings = []
    for sums in tests:
        up = MeanSums(*sums.values)
        down = MeanSums(up.rows, up.w, -up.wx, up.ww, -up.wwx, up.wwxx)
        evidence = -np.inf
        if limit is not None:
            # Two directions are looked at: each gets half.
            either = max(mean_above(way, limit, **wide) for way in (up, down))
            evidence = float(either) - float(np.log(2))
        readings.append(Reading(sums, evidence))
    verdict, sums = judge(
        readings, log_doubt=readings[0].log_evidence, doubt_share=config.doubt_share
    )
    kept = MeanSums(*sums.values)
    low, high = mean_bounds(kept, sums.error, **wide)
    mean = float(kept.mean) if kept.rows else 0.0
    allowed = "no limit is set" if limit is None else f"{limit:g} is allowed"
    return Finding(
        source="decisions",
        name="score shift",
        verdict=verdict,
        says=f"the mean score moved by {mean:+.4f} over {kept.rows:,.0f} rows; {allowed}",
        candidate=mean,
        interval=(float(low), float(high)),
        bound=limit,
        rows=int(kept.rows),
    )


def _review_volume(
    fresh: tuple[float, ...],
    limit: float,
    posts_per_day: float,
    config: RolloutConfig,
    budget: Budget,
) -> Finding:
    """Judge the rows that go to people: over capacity, and more than the baseline sends."""
    readings = []
    for sums in budget.add("review volume", fresh, horizons=_HORIZONS):
        gains, losses, hits, rows = sums.values
        over = share_above(hits, rows, min(limit, 1 - 1e-9))
        readings.append(Reading(sums, float(min(over, paired_above(gains, losses, rows, 0.0)))))
    first = readings[0].sums.values
    doubt = float(share_above(first[2], first[3], min(limit, 1 - 1e-9)))
    verdict, sums = judge(readings, log_doubt=doubt, doubt_share=config.doubt_share)
    gains, losses, hits, rows = sums.values
    low, high = share_bounds(hits, rows, sums.error)
    daily = posts_per_day / rows if rows else 0.0
    mine, theirs = hits * daily, (hits - gains + losses) * daily
    return Finding(
        source="decisions",
        name="review volume",
        verdict=verdict,
        says=f"{mine:,.0f} posts a day would go to people, {theirs:,.0f} with the baseline; "
        f"they can review {limit * posts_per_day:,.0f}",
        candidate=mine,
        baseline=theirs,
        interval=(float(low) * posts_per_day, float(high) * posts_per_day),
        bound=limit * posts_per_day,
        rows=int(rows),
    )
