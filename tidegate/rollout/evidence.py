"""What an analysis of a release step goes by. What could not be read is None, never zero.

Arrays are in row order; which order does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tidegate.records import ServedDecision

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: The group or groups of each row.
Groups = Sequence[str | tuple[str, ...]]


@dataclass(frozen=True)
class OpsCounts:
    """What one version's serving did since the step began.

    Parameters
    ----------
    requests, errors : float
        Answered requests, and those that failed. A source that extrapolates gives fractions.
    slower : mapping
        From a latency in milliseconds to the requests that took longer than it.
    saturation : sequence of (float, float)
        Seconds since the step began, and the share of memory or of the request limit in use.
    """

    requests: float
    errors: float
    slower: Mapping[float, float] = field(default_factory=dict)
    saturation: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class OpsEvidence:
    """The serving of both versions; `problem` says why there are no figures, in one sentence."""

    candidate: OpsCounts | None = None
    baseline: OpsCounts | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Decisions:
    """Logged requests that both versions have answered since the last analysis.

    A version that failed on a row has the score NaN there and `failed` set; a score that is NaN
    without that is what the version answered. Arrays of shape (rows,).

    Parameters
    ----------
    groups : mapping
        Group or segment column to the values of the rows.
    review_band : bool
        Whether a version sends rows to people beside those it flags; then these are what fills
        the review queue, else the flagged ones.
    """

    candidate_score: FloatArray
    baseline_score: FloatArray
    candidate_decision: Sequence[ServedDecision]
    baseline_decision: Sequence[ServedDecision]
    candidate_failed: BoolArray
    baseline_failed: BoolArray
    groups: Mapping[str, Groups] = field(default_factory=dict)
    review_band: bool = False


@dataclass(frozen=True)
class GoldenRows:
    """The golden set as both versions decide it now; arrays of shape (rows,)."""

    label: BoolArray
    candidate_flagged: BoolArray
    baseline_flagged: BoolArray


@dataclass(frozen=True)
class LabelledRows:
    """Served rows whose label has come since the last analysis; arrays of shape (rows,).

    Parameters
    ----------
    by_candidate, flagged, label : arrays of bool
        Which version served the row, what it decided, and what people said.
    weight : array
        One over the probability with which such a row is looked at.
    max_weight : float
        What no weight exceeds in the whole release.
    """

    by_candidate: BoolArray
    flagged: BoolArray
    label: BoolArray
    weight: FloatArray
    groups: Mapping[str, Groups] = field(default_factory=dict)
    max_weight: float = 1.0


@dataclass(frozen=True)
class Appeals:
    """Rows that each version flagged since the last analysis, and appeals that were upheld."""

    candidate_flagged: int
    candidate_upheld: int
    baseline_flagged: int
    baseline_upheld: int


@dataclass(frozen=True)
class QualityEvidence:
    """What is known of right and wrong."""

    golden: GoldenRows | None = None
    labels: LabelledRows | None = None
    appeals: Appeals | None = None


@dataclass(frozen=True)
class PlatformFacts:
    """What the candidate is, and what it was meant to be; None is not known.

    `served_thresholds` are those its answers named, `thresholds` those of its manifest;
    `outputs` are names and types in its answers' schema.
    """

    ready: bool | None = None
    restarts: int | None = None
    served_versions: frozenset[str] | None = None
    version: str | None = None
    served_thresholds: frozenset[float | None] | None = None
    thresholds: frozenset[float | None] | None = None
    served_outputs: frozenset[tuple[str, str]] | None = None
    outputs: frozenset[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything one analysis goes by.

    Parameters
    ----------
    step, percent : int
        Which step of the release it is, and the candidate's share of traffic in it.
    """

    step: int
    percent: int
    ops: OpsEvidence | None = None
    decisions: Decisions | None = None
    decisions_problem: str | None = None
    quality: QualityEvidence = QualityEvidence()
    platform: PlatformFacts = PlatformFacts()
