"""A/B after the canary: two versions serve, and the users' side says which is better.

The canary asks whether a candidate does harm; an experiment asks whether it does good. A unit (an
account, a community) is assigned by a hash of its id, so that it stays with its version; the
verdict may be read every day, because its interval holds at all looks at once.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.config import ExperimentConfig
from tidegate.data.sources import require_column
from tidegate.errors import BadInput
from tidegate.evaluation.sequential import asymptotic_bounds, share_bounds
from tidegate.evaluation.unit_effects import Effect, Units, effect, spread
from tidegate.records.experiment import (
    Arm,
    ArmFigures,
    ExperimentPlan,
    ExperimentResult,
    ExperimentVerdict,
)
from tidegate.records.record import Interval
from tidegate.rollout.unit_split import assigned

_WHERE = "rollout.experiment"


def plan_experiment(
    config: ExperimentConfig, past: Any, *, units_a_day: float | None = None
) -> ExperimentPlan:
    """Return how many units an experiment needs, from rows of the time before it.

    Parameters
    ----------
    config : ExperimentConfig
        Metric, smallest effect, power.
    past : pandas.DataFrame
        Rows of the baseline with the unit, the metric and, where configured, the pre-period.
    units_a_day : float, optional
        New units a day, for the days that it takes.

    Raises
    ------
    BadInput
        If a column is missing or of the wrong kind, or there are fewer than `min_units` units.

    Notes
    -----
    The interval of `judge_experiment`, tuned to n units, is c standard errors wide to each side
    whatever n is. It excludes 0 with the wanted power when the effect is c + z(power) of them.
    Looks before that often decide earlier.
    """
    from scipy.special import ndtri

    rows, _ = _measured(config, past)
    units = _units(config, rows)
    if units.rows.size < config.min_units:
        raise BadInput(
            "past outcomes",
            f"must hold at least {config.min_units} units, got {units.rows.size}",
            "take a longer time",
        )
    deviation, kept = spread(units)
    z = float(ndtri(config.power))
    each = deviation**2 * kept * (1 / config.candidate_share + 1 / (1 - config.candidate_share))
    widths = {
        "always": float(
            asymptotic_bounds(0.0, 1.0, 1.0, config.false_verdict_share, tuned_rows=1)[1]
        ),
        "once": float(ndtri(1 - config.false_verdict_share / 2)),
    }
    needed = {
        name: max(2 * config.min_units, each * ((width + z) / config.smallest_effect) ** 2)
        for name, width in widths.items()
    }
    in_time = None
    if units_a_day is not None:
        in_time = (widths["always"] + z) * float(np.sqrt(each / (units_a_day * config.max_days)))
    return ExperimentPlan(
        metric=config.metric,
        smallest_effect=config.smallest_effect,
        power=config.power,
        false_verdict_share=config.false_verdict_share,
        past_units=int(units.rows.size),
        mean=units.mean,
        deviation=deviation,
        variance_kept=kept,
        units=int(np.ceil(needed["always"])),
        fixed_units=int(np.ceil(needed["once"])),
        days=None if units_a_day is None else needed["always"] / units_a_day,
        smallest_in_time=in_time,
    )


def judge_experiment(
    config: ExperimentConfig,
    outcomes: Any,
    *,
    name: str,
    baseline: str,
    candidate: str,
    plan: ExperimentPlan,
    began: datetime,
    now: datetime,
    key: bytes = b"",
) -> ExperimentResult:
    """Return what the outcomes so far say; it may be asked as often as one likes.

    Units are counted for the version that they were assigned, whichever decided: leaving out those
    that went astray would leave out different units on the two sides.

    Parameters
    ----------
    config : ExperimentConfig
    outcomes : pandas.DataFrame
        A row an outcome: the unit, the metric (null while it is not known), and where they are
        kept the version that decided and the pre-period.
    name : str
        The experiment's name, as in `assigned`.
    baseline, candidate : str
        The two versions.
    plan : ExperimentPlan
        From before the experiment; it fixes where the interval is narrowest.
    began, now : datetime
        For how long it has run.
    key : bytes
        As in `assigned`.

    Raises
    ------
    BadInput
        If a column is missing or of the wrong kind.
    """
    rows, left_out = _measured(config, outcomes)
    if config.version in rows.columns:
        known = rows[config.version].astype(str).isin([baseline, candidate])
        left_out += int((~known).sum())
        rows = rows[known]
    ids = rows[config.unit].unique()
    arms: dict[str, Arm] = {
        unit: assigned(name, unit, candidate_share=config.candidate_share, key=key) for unit in ids
    }
    arm = rows[config.unit].map(arms)
    versions = {"baseline": baseline, "candidate": candidate}
    crossed = 0
    if config.version in rows.columns:
        crossed = int((arm.map(versions) != rows[config.version].astype(str)).sum())
    sides = {which: _units(config, rows[arm == which]) for which in versions}
    counts = [sides["candidate"].rows.size, sides["baseline"].rows.size]
    found, interval = None, None
    if min(counts) >= 2:
        found = effect(sides["baseline"], sides["candidate"])
        low, high = asymptotic_bounds(
            found.difference,
            found.standard_error,
            sum(counts),
            config.false_verdict_share,
            tuned_rows=plan.units,
        )
        interval = (float(low), float(high))
    days = (now - began).total_seconds() / 86_400
    verdict = _verdict(config, counts, interval, days)
    return ExperimentResult(
        name=name,
        metric=config.metric,
        better=config.better,
        verdict=verdict,
        says=_says(config, verdict, counts, found, plan),
        baseline=_figures(baseline, sides["baseline"]),
        candidate=_figures(candidate, sides["candidate"]),
        difference=None if found is None else found.difference,
        interval=interval,
        smallest_effect=config.smallest_effect,
        variance_kept=1.0 if found is None else found.variance_kept,
        ratio_p_value=_ratio_p_value(counts, config.candidate_share),
        crossed_rows=crossed,
        left_out_rows=left_out,
        days=days,
        plan=plan,
    )


def _verdict(
    config: ExperimentConfig, counts: Sequence[int], interval: Interval | None, days: float
) -> ExperimentVerdict:
    if sum(counts):
        low, high = share_bounds(counts[0], sum(counts), config.false_mismatch_share)
        if not float(low) <= config.candidate_share <= float(high):
            return "invalid"
    is_over = days >= config.max_days
    if interval is None or min(counts) < config.min_units:
        return "insufficient_data" if is_over else "go_on"
    low_gain, high_gain = interval if config.better == "higher" else (-interval[1], -interval[0])
    if low_gain > 0:
        return "better"
    if high_gain < 0:
        return "worse"
    if max(high_gain, -low_gain) < config.smallest_effect:
        return "no_difference"
    return "undecided" if is_over else "go_on"


def _says(
    config: ExperimentConfig,
    verdict: ExperimentVerdict,
    counts: Sequence[int],
    found: Effect | None,
    plan: ExperimentPlan,
) -> str:
    units, metric = sum(counts), config.metric
    by = "" if found is None else f" by {abs(found.difference):.3g}"
    return {
        "better": f"the candidate is better in {metric}{by}",
        "worse": f"the candidate is worse in {metric}{by}",
        "no_difference": f"{metric} differs by less than {config.smallest_effect:g}, if at all",
        "go_on": f"{units} of {plan.units} planned units; nothing is decided yet",
        "undecided": f"nothing is decided after {config.max_days} days and {units} units",
        "insufficient_data": f"{min(counts)} units on one side after {config.max_days} days; "
        f"{config.min_units} are needed",
        "invalid": f"{counts[0]} of {units} units are the candidate's where "
        f"{config.candidate_share:g} were to be: outcomes are lost on one side",
    }[verdict]


def _ratio_p_value(counts: Sequence[int], candidate_share: float) -> float | None:
    from scipy.stats import chisquare

    units = sum(counts)
    if units == 0:
        return None
    expected = [units * candidate_share, units * (1 - candidate_share)]
    return float(chisquare(counts, expected).pvalue)


def _figures(version: str, units: Units) -> ArmFigures:
    rows = int(units.rows.sum())
    mean = units.mean if rows else None
    return ArmFigures(version=version, units=int(units.rows.size), rows=rows, mean=mean)


def _measured(config: ExperimentConfig, rows: Any) -> tuple[Any, int]:
    """Return the rows that have a unit and a metric, and how many have not."""
    import pandas as pd

    names = [str(name) for name in rows.columns]
    for name in (config.unit, config.metric, config.pre_period):
        if name is not None:
            require_column(name, names, _WHERE)
    numbers = {}
    for name in (config.metric, config.pre_period):
        if name is not None:
            try:
                numbers[name] = pd.to_numeric(rows[name]).astype(float)
            except (TypeError, ValueError):
                raise BadInput(f"{_WHERE}: {name}", "is not numeric", "name a number") from None
    metric = numbers[config.metric]
    kept = rows.assign(**numbers)[rows[config.unit].notna() & np.isfinite(metric)]
    if config.kind == "share" and not kept[config.metric].between(0, 1).all():
        raise BadInput(
            f"{_WHERE}: {config.metric}",
            "a share's values must be within 0 and 1",
            "write kind: mean, or name another column",
        )
    return kept.assign(**{config.unit: kept[config.unit].astype(str)}), len(rows) - len(kept)


def _units(config: ExperimentConfig, rows: Any) -> Units:
    by_unit = rows.groupby(config.unit, sort=True)
    metric = by_unit[config.metric]
    before = None
    if config.pre_period is not None:
        before = by_unit[config.pre_period].mean().to_numpy(dtype=float)
    return Units(
        total=metric.sum().to_numpy(dtype=float),
        rows=metric.count().to_numpy(dtype=float),
        before=before,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan an experiment or look at one; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.rollout.experiment")
    parser.add_argument("config", type=Path, help="run configuration with rollout.experiment")
    parser.add_argument("--past", required=True, help="outcomes of before, path or URI")
    parser.add_argument("--units-a-day", type=float, help="new units a day, for the plan's days")
    parser.add_argument("--outcomes", help="outcomes so far; without it only the plan is told")
    parser.add_argument("--name", help="the experiment's name, its hash's salt")
    parser.add_argument("--baseline", help="version in service")
    parser.add_argument("--candidate", help="version on trial")
    parser.add_argument("--began", type=datetime.fromisoformat, help="ISO 8601, UTC")
    parser.add_argument("--out", type=Path, help="folder of experiment.json and experiment.html")
    given = parser.parse_args(arguments)
    try:
        print(_command(given))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _command(given: argparse.Namespace) -> str:
    from tidegate.config import load_config
    from tidegate.data.sources import read_source
    from tidegate.rollout.experiment_page import add_look, read_looks

    config = load_config(given.config).rollout.experiment
    if config is None:
        raise BadInput(str(given.config), f"has no {_WHERE}", "write metric and smallest_effect")
    looks = read_looks(given.out) if given.out is not None else ()
    # What was planned at the first look holds: a plan after the fact would follow the outcomes.
    plan = looks[0].plan if looks else None
    if plan is None:
        plan = plan_experiment(config, read_source([given.past]), units_a_day=given.units_a_day)
    if given.outcomes is None:
        return plan.model_dump_json(indent=2)
    for option in ("name", "baseline", "candidate", "began", "out"):
        if getattr(given, option) is None:
            raise BadInput(f"--{option}", "is needed with --outcomes", "write it")
    began: datetime = given.began
    result = judge_experiment(
        config,
        read_source([given.outcomes]),
        name=given.name,
        baseline=given.baseline,
        candidate=given.candidate,
        plan=plan,
        began=began.replace(tzinfo=UTC) if began.tzinfo is None else began,
        now=datetime.now(UTC),
    )
    add_look(given.out, result)
    return f"{result.verdict}: {result.says}"


if __name__ == "__main__":
    sys.exit(main())
