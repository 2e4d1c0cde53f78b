"""What a decision rule does to scores: the thresholds of rows, and the score that is answered.

Evaluation measures with these functions what serving will do with them.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tidegate.records import CalibrationMap, DecisionRule, ReferenceMapping

FloatArray = npt.NDArray[np.float64]

#: The segment of rows that have none.
NO_SEGMENT = "(none)"
# How close to 0 and 1 a probability may come before its logarithm is meaningless.
_EDGE = 1e-6


def segment_name(value: object) -> str:
    """Return the segment that a cell names: 3, 3.0 and "3" are one, None and NaN are none."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return NO_SEGMENT
        if float(value).is_integer():
            value = int(value)
    return NO_SEGMENT if value is None else str(value)


def row_thresholds(
    threshold: float | None,
    by_segment: Mapping[str, float | None],
    segments: Iterable[object] | None,
    rows: int,
) -> FloatArray:
    """Return the threshold of each row, shape (rows,); NaN where no score flags.

    Parameters
    ----------
    threshold : float or None
        Of every row whose segment is not in `by_segment`.
    by_segment : mapping
        Threshold of a segment; None where nothing may be flagged.
    segments : iterable, optional
        Each row's segment, as its cell holds it.
    rows : int
        How many rows there are.
    """
    rest = np.nan if threshold is None else threshold
    if segments is None or not by_segment:
        return np.full(rows, rest)
    known = {name: np.nan if cut is None else cut for name, cut in by_segment.items()}
    return np.array([known.get(segment_name(value), rest) for value in segments], dtype=np.float64)


def answered_scores(rule: DecisionRule, scores: FloatArray) -> FloatArray:
    """Return what clients are told: the lasting scale, else the probability, else the raw score.

    The scale comes first because it was made of what the model before answered: clients'
    thresholds outlast a retrain, whatever the first model's answers were.
    """
    if rule.scale is not None:
        return to_reference(rule.scale, scores)
    if rule.calibration is not None:
        return apply_map(rule.calibration, scores)
    return scores


def apply_map(fitted: CalibrationMap, scores: FloatArray) -> FloatArray:
    """Return the calibrated scores; maps never decrease."""
    if fitted.method == "identity":
        return scores
    if fitted.method in {"platt", "beta"}:
        rise, fall, shift = fitted.coefficients
        inside = np.clip(scores, _EDGE, 1 - _EDGE)
        logit = rise * np.log(inside) - fall * np.log1p(-inside) + shift
        return np.asarray(0.5 * (1 + np.tanh(logit / 2)))
    return np.asarray(np.interp(scores, fitted.knots, fitted.values))


def to_reference(mapping: ReferenceMapping, scores: FloatArray) -> FloatArray:
    """Return this model's scores on the reference's scale; the order of rows stays."""
    return np.asarray(np.interp(scores, mapping.knots, mapping.values))


def reached_classes(
    thresholds: Mapping[str, float | None], names: Sequence[str], outputs: FloatArray
) -> npt.NDArray[np.bool_]:
    """Return which outputs reach their own threshold, shape (rows, outputs).

    Parameters
    ----------
    thresholds : mapping
        Threshold of an output; one that is absent or None is never reached.
    names : sequence of str
        The outputs, in the order of the columns.
    outputs : array, shape (rows, outputs)
        The model's probabilities.
    """
    cuts = [thresholds.get(name) for name in names]
    return outputs >= np.array([np.inf if cut is None else cut for cut in cuts])
