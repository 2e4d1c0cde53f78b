"""Scores that keep their meaning across retrains.

Clients compare scores with thresholds of their own. A retrained model spreads its scores otherwise,
and 0.8 suddenly flags twice as many posts. The reference mapping takes this model's score to the
score that the model in service gives to as large a share of the same rows (quantile to quantile),
so that a client's threshold goes on flagging the share that it did. Labels take no part.

A chain of retrains keeps one scale: the model in service is mapped to it before its successor is.
"""

import numpy as np

from tidegate.evaluation.intervals import FloatArray
from tidegate.records import ReferenceMapping, ScoreShift

# The method's constant: knots of the map, denser where clients' thresholds lie, at the top.
_QUANTILES = np.unique(
    np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.9, 0.99, 46), np.linspace(0.99, 1, 21)])
)
_SHOWN = (0.5, 0.7, 0.8, 0.9, 0.95)


def reference_mapping(scores: FloatArray, reference: FloatArray, *, name: str) -> ReferenceMapping:
    """Map this model's scores to the reference's scale, and say how far apart the two are.

    Parameters
    ----------
    scores, reference : arrays, shape (n,)
        Both models' scores of the same rows; the reference's already on the lasting scale.
    name : str
        The reference model.
    """
    own, kept = np.sort(scores), np.sort(reference)
    knots = np.quantile(own, _QUANTILES)
    values = np.quantile(kept, _QUANTILES)
    # One value a knot: where this model's scores tie, the middle of what the reference says there.
    knots, place = np.unique(knots, return_inverse=True)
    values = np.bincount(place, weights=values) / np.bincount(place)
    every = np.concatenate([own, kept])
    distance = float(np.abs(_above(own, every) - _above(kept, every)).max())
    return ReferenceMapping(
        reference=name,
        knots=tuple(float(v) for v in knots),
        values=tuple(float(v) for v in np.maximum.accumulate(values)),
        distance=distance,
        shifts=tuple(
            ScoreShift(
                score=cut,
                flagged_by_reference=float(_above(kept, np.array(cut))),
                flagged_unmapped=float(_above(own, np.array(cut))),
            )
            for cut in _SHOWN
        ),
    )


def _above(ascending: FloatArray, cuts: FloatArray) -> FloatArray:
    return 1 - np.searchsorted(ascending, cuts) / ascending.size
