"""Errors, latency and saturation of the two versions.

A version is at fault when it is both over the limit and shown to be worse than the other one: an
equal model on a bad day is not rolled back, it waits.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tidegate.config import OpsConfig, RolloutConfig
from tidegate.evaluation.decision import percent
from tidegate.evaluation.sequential import difference_above, share_above, share_bounds
from tidegate.records import Finding, Verdict
from tidegate.rollout.budget import Budget, Horizon, Sums
from tidegate.rollout.evidence import OpsCounts, OpsEvidence
from tidegate.rollout.findings.judgement import VERDICTS, Reading, judge

_HORIZONS: tuple[Horizon, ...] = ("step", "interval")
_TAIL = 0.01  # what lies beyond a p99
# Five readings that all rise are the fewest that chance gives less than once in a hundred times;
# of many, chance gives as steady a rise less than once in a thousand times.
_FEWEST_READINGS, _STEADY = 5, 3.1


def ops_findings(
    ops: OpsEvidence | None, config: RolloutConfig, budget: Budget, *, percent_of_traffic: int
) -> tuple[Finding, ...]:
    """Judge the serving; what cannot be read pauses, if the configuration requires it."""
    problem = _missing(ops, percent_of_traffic)
    if ops is None or problem is not None:
        verdict: Verdict = "pause" if config.ops.required else "advance"
        says = f"serving metrics are missing: {problem}"
        return (Finding(source="ops", name="metrics", verdict=verdict, says=says),)
    if ops.candidate is None:
        says = "the candidate has answered no request yet, so its serving is not judged"
        return (Finding(source="ops", name="metrics", verdict="advance", says=says),)
    other = ops.baseline or OpsCounts(0.0, 0.0)
    return (
        _errors(ops.candidate, other, config, budget),
        *_latency(ops.candidate, other, config, budget),
        *_saturation(ops.candidate, other, config.ops),
    )


def _missing(ops: OpsEvidence | None, percent_of_traffic: int) -> str | None:
    if ops is None:
        return "no source is configured; write rollout.ops.prometheus, or required: false"
    if ops.problem is not None:
        return ops.problem
    if percent_of_traffic > 0 and ops.candidate is None:
        return "none of the candidate's"
    if percent_of_traffic < 100 and ops.baseline is None:
        return "none of the baseline's"
    return None


def _errors(
    candidate: OpsCounts, other: OpsCounts, config: RolloutConfig, budget: Budget
) -> Finding:
    limit = config.ops.max_error_share
    now = (candidate.errors, candidate.requests, other.errors, other.requests)
    fresh = budget.since_last_look("errors", now)
    known = budget.release_sums("baseline errors", fresh[2:])
    readings = []
    for sums in budget.add("errors", fresh, horizons=_HORIZONS):
        k, n, j, m = _counts(sums, known)
        worse = difference_above(k, n, j, m) if m else share_above(k, n, limit)
        readings.append(Reading(sums, float(worse), counts=k > limit * n))
    k, n = readings[0].sums.values[:2]
    doubt = float(share_above(min(k, n), n, limit))
    verdict, sums = judge(readings, log_doubt=doubt, doubt_share=config.doubt_share)
    k, n, j, m = _counts(sums, known)
    low, high = share_bounds(k, n, sums.error)
    return Finding(
        source="ops",
        name="errors",
        verdict=verdict,
        says=f"{_rate(k, n)} of {n:,.0f} requests failed, {_rate(j, m)} of the baseline's; "
        f"{percent(limit)} is bearable",
        candidate=_share(k, n),
        baseline=_share(j, m),
        interval=(float(low), float(high)),
        bound=limit,
        rows=int(n),
    )


def _latency(
    candidate: OpsCounts, other: OpsCounts, config: RolloutConfig, budget: Budget
) -> tuple[Finding, ...]:
    """Compare the shares of requests above each latency that is counted."""
    edges = sorted(set(candidate.slower) & set(other.slower or candidate.slower))
    if not edges:
        return ()
    known, tests = {}, {}
    for edge in edges:
        theirs = (other.slower.get(edge, 0.0), other.requests)
        now = (candidate.slower[edge], candidate.requests, *theirs)
        fresh = budget.since_last_look(f"slower than {edge}", now)
        known[edge] = budget.release_sums(f"baseline slower than {edge}", fresh[2:])
        tests[edge] = budget.add(
            "latency", fresh, horizons=_HORIZONS, member=str(edge), of=len(edges)
        )
    reference = _p99(other.slower, other.requests) or _p99(
        {edge: slow for edge, (slow, _) in known.items()}, known[edges[0]][1]
    )
    limit = config.ops.max_p99_ms
    allowed = min(limit, config.ops.max_p99_ratio * reference) if reference else limit
    found: list[tuple[Verdict, Sums, float]] = []
    for edge in edges:
        if edge < allowed:
            continue
        readings = []
        for sums in tests[edge]:
            k, n, j, m = _counts(sums, known[edge])
            worse = difference_above(k, n, j, m) if m else share_above(k, n, _TAIL)
            readings.append(Reading(sums, float(worse), counts=k > _TAIL * n))
        k, n = tests[edge][0].values[:2]
        doubt = float(share_above(min(k, n), n, _TAIL)) if edge >= limit else 0.0
        found.append((*judge(readings, log_doubt=doubt, doubt_share=config.doubt_share), edge))
    own = _p99(candidate.slower, candidate.requests)
    verdict, sums, edge = max(
        found, key=lambda one: VERDICTS.index(one[0]), default=("advance", tests[edges[-1]][0], 0.0)
    )
    says = f"the p99 is {_ms(own)}, the baseline's {_ms(reference)}; {allowed:.0f} ms is bearable"
    if verdict != "advance":
        k, n, j, m = _counts(sums, known[edge])
        says = (
            f"{_rate(k, n)} of {n:,.0f} requests took longer than {edge:g} ms, "
            f"{_rate(j, m)} of the baseline's; a p99 of {allowed:.0f} ms is bearable"
        )
    return (
        Finding(
            source="ops",
            name="p99",
            verdict=verdict,
            says=says,
            candidate=own,
            baseline=reference,
            bound=allowed,
            rows=int(candidate.requests),
        ),
    )


def _saturation(candidate: OpsCounts, other: OpsCounts, config: OpsConfig) -> tuple[Finding, ...]:
    """Look at how full the candidate is, and whether it fills up while the baseline does not."""
    if not candidate.saturation:
        return ()
    limit, horizon = config.max_saturation, config.leak_horizon_seconds
    now = candidate.saturation[-1][1]
    others = other.saturation[-1][1] if other.saturation else None
    growth, others_growth = _growth(candidate.saturation), _growth(other.saturation)
    leaks = growth > max(0.0, 2 * others_growth) and now + growth * horizon > limit
    others_full = others is not None and others > limit
    verdict: Verdict = "advance"
    says = f"{percent(now)} of its memory or request limit is in use, {percent(limit)} is bearable"
    if leaks:
        verdict = "rollback" if now > limit and not others_full else "pause"
        says += f"; it grows by {percent(growth * 3600)} an hour, steadily"
    elif now > limit:
        verdict = "pause"
    return (
        Finding(
            source="ops",
            name="saturation",
            verdict=verdict,
            says=says,
            candidate=now,
            baseline=others,
            bound=limit,
            rows=len(candidate.saturation),
        ),
    )


def _growth(samples: Sequence[tuple[float, float]]) -> float:
    """Return the median growth a second, 0 unless readings rise too steadily to be chance.

    References
    ----------
    Mann, "Nonparametric tests against trend", Econometrica 13, 1945; Sen, JASA 63, 1968.
    """
    if len(samples) < _FEWEST_READINGS:
        return 0.0
    at, value = np.asarray(samples, dtype=float).T
    first, second = np.triu_indices(at.size, k=1)
    seconds = at[second] - at[first]
    slopes = (value[second] - value[first])[seconds > 0] / seconds[seconds > 0]
    n = at.size
    deviation = np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    steady = np.sign(slopes).sum() >= min(first.size, _STEADY * deviation)
    return float(np.median(slopes)) if steady else 0.0


def _counts(sums: Sums, known: Sequence[float]) -> tuple[float, float, float, float]:
    """Return failures and rows of both; a baseline without traffic is what it was before."""
    k, n, j, m = sums.values
    if m == 0:
        j, m = known
    return min(k, n), n, min(j, m), m


def _p99(slower: Mapping[float, float], requests: float) -> float | None:
    """Return the latency that one in a hundred exceeds, between counted latencies by a line."""
    if requests <= 0 or not slower:
        return None
    below, share_below = 0.0, 1.0
    for edge in sorted(slower):
        share = slower[edge] / requests
        if share <= _TAIL:
            part = (share_below - _TAIL) / (share_below - share) if share_below > share else 1.0
            return below + part * (edge - below)
        below, share_below = edge, share
    return below


def _share(hits: float, rows: float) -> float | None:
    return hits / rows if rows else None


def _rate(hits: float, rows: float) -> str:
    return percent(hits / rows) if rows else "none"


def _ms(value: float | None) -> str:
    return "not known" if value is None else f"{value:.0f} ms"
