"""What a learning curve says of a model: too little learned, too much, or enough."""

from collections.abc import Sequence
from typing import Literal

from tidegate.records import CurvePoint

Verdict = Literal["underfit", "fits", "overfit", "unknown"]

_SHORTEST_CURVE = 4
#: Changes of the validation loss below this share of it are noise.
_VISIBLE = 0.02


def curve_verdict(curve: Sequence[CurvePoint]) -> Verdict:
    """Return whether more training would have helped, harmed or neither.

    Parameters
    ----------
    curve : sequence of CurvePoint
        In order of steps.

    Returns
    -------
    {"underfit", "fits", "overfit", "unknown"}
        ``overfit`` when the validation loss ends more than 2 % above its lowest while the training
        loss went on falling; ``underfit`` when it still fell by more than 2 % over the last quarter
        of the steps; ``unknown`` for fewer than four points.
    """
    if len(curve) < _SHORTEST_CURVE:
        return "unknown"
    last = curve[-1]
    lowest = min(curve, key=lambda point: point.validation_log_loss)
    risen = last.validation_log_loss - lowest.validation_log_loss
    if (
        risen > _VISIBLE * lowest.validation_log_loss
        and last.train_log_loss < lowest.train_log_loss
    ):
        return "overfit"
    before = curve[-1 - max(1, len(curve) // 4)].validation_log_loss
    return "underfit" if before - last.validation_log_loss > _VISIBLE * before else "fits"
