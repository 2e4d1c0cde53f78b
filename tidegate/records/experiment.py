"""An A/B experiment between two versions: its plan, and what was found at one look."""

from typing import Literal

from tidegate.records.record import Interval, Record

Arm = Literal["baseline", "candidate"]
ExperimentVerdict = Literal[
    "better", "worse", "no_difference", "go_on", "undecided", "insufficient_data", "invalid"
]


class ExperimentPlan(Record):
    """How many units an experiment needs before it begins.

    `units` is for both versions together and for a verdict that may be read at any time;
    `fixed_units` is what one look at the end would need. `deviation` is of a unit's metric.
    `variance_kept` is what the pre-period leaves of the variance. `smallest_in_time` is the
    smallest effect that the units of `max_days` would show, None where their number is unknown.
    """

    metric: str
    smallest_effect: float
    power: float
    false_verdict_share: float
    past_units: int
    mean: float
    deviation: float
    variance_kept: float
    units: int
    fixed_units: int
    days: float | None = None
    smallest_in_time: float | None = None


class BegunExperiment(Record):
    """The plan that holds for every look, and since when units are split so."""

    plan: ExperimentPlan
    began_at: str


class ArmFigures(Record):
    """One version's side of an experiment."""

    version: str
    units: int
    rows: int
    mean: float | None


class ExperimentResult(Record):
    """What an experiment says at one look.

    `difference` is candidate less baseline, adjusted by the pre-period where there is one, and
    `interval` holds at every look at once. `ratio_p_value` is of the chi-square test that units
    are split as assigned; the verdict "invalid" does not rest on it but on an interval of the
    candidate's share of units that also holds at every look. `crossed_rows` were decided by the
    other version than their unit's, `left_out_rows` have no metric, no unit or a third version.
    """

    name: str
    metric: str
    better: Literal["higher", "lower"]
    verdict: ExperimentVerdict
    says: str
    baseline: ArmFigures
    candidate: ArmFigures
    difference: float | None
    interval: Interval | None
    smallest_effect: float
    variance_kept: float
    ratio_p_value: float | None
    crossed_rows: int
    left_out_rows: int
    days: float
    plan: ExperimentPlan
