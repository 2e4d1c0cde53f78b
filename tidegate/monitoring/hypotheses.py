"""What a window should look like if one kind of change were all that happened.

A new share of violating posts weighs the reference's two classes anew; new inputs weigh its rows
by how much likelier they are now. What a reweighted reference shows is what the window should
show, of inputs and of labelled rows alike.

References
----------
Shimodaira, "Improving predictive inference under covariate shift by weighting the log-likelihood
function", Journal of Statistical Planning and Inference 90, 2000.
Bickel, Brückner and Scheffer, "Discriminative learning under covariate shift", JMLR 10, 2009 (the
weights are a classifier's odds).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tidegate.records import CATEGORY_PREFIX, COMPONENT_PREFIX, NUMBER_PREFIX, SCORE

Values = npt.NDArray[np.float64]

#: No row stands for more than so many: the price is a little bias, the gain intervals that end.
MOST_WEIGHT = 10.0
_MOST_ROWS = 4000


class NewInputs(NamedTuple):
    """How much likelier reference rows are in the window, and how typical window rows are of it."""

    weights: Values
    typical: Values


def weights_of_mix(violating: npt.NDArray[np.bool_], trust: Values, prevalence: float) -> Values:
    """Weigh the reference's classes so that `prevalence` of the rows violates, mean weight one."""
    before = float(np.average(violating, weights=trust))
    share = min(max(prevalence, 1e-4), 1 - 1e-4)
    weights = np.where(violating, share / before, (1 - share) / (1 - before))
    return np.asarray(trust * weights / np.average(weights, weights=trust))


def weights_of_inputs(reference: Any, window: Any, *, seed: int) -> NewInputs:
    """Weigh the reference's rows as the window's inputs are; all one where there are no inputs."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    names = [n for n in reference.columns if str(n).startswith((COMPONENT_PREFIX, NUMBER_PREFIX))]
    if not names:
        return NewInputs(np.ones(len(reference)), np.zeros(len(window)))
    before, after = (table[names].to_numpy(np.float64) for table in (reference, window))
    centre = np.nan_to_num(np.nanmean(before, axis=0))
    spread = np.nan_to_num(np.nanstd(before, axis=0))
    spread[spread == 0] = 1.0
    # A far outlier must not decide the weights of all.
    sides = [np.clip(np.nan_to_num((side - centre) / spread), -5, 5) for side in (before, after)]
    chosen = np.random.default_rng(seed).permutation(len(sides[1]))[:_MOST_ROWS]
    X = np.concatenate([sides[0], sides[1][chosen]])
    new = np.arange(len(X)) >= len(before)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=200)
    # A row's own side must not be learned by heart, so another fold's model weighs it.
    odds = cross_val_predict(model, X, new, cv=5, method="decision_function")
    weights = np.minimum(np.exp(np.minimum(odds[: len(before)], 20.0)), MOST_WEIGHT)
    typical = model.fit(X, new).decision_function(sides[1])
    return NewInputs(np.asarray(weights / weights.mean()), np.asarray(typical))


def distance(before: Any, after: Any, weights: Values) -> float:
    """Return how far a watched column is from the reference weighted so, from 0 to 1.

    Of numbers the largest difference of the two distribution functions, of categories half the
    sum of differences between shares.
    """
    if before.dtype == object:
        import pandas as pd

        names = pd.Index(before.dropna().unique()).union(after.dropna().unique())
        first = pd.Series(weights).groupby(before.to_numpy()).sum().reindex(names).fillna(0)
        second = after.value_counts().reindex(names).fillna(0)
        gap = first / max(first.sum(), 1e-12) - second / max(second.sum(), 1)
        return float(gap.abs().sum() / 2)
    first, second = before.to_numpy(np.float64), after.to_numpy(np.float64)
    known = ~np.isnan(first)
    first, kept, second = first[known], weights[known], second[~np.isnan(second)]
    if not (len(first) and len(second) and kept.sum() > 0):
        return 0.0
    order = np.argsort(first, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(kept[order])]) / kept.sum()
    at = np.concatenate([first, second])
    reached = total[np.searchsorted(first[order], at, side="right")]
    seen = np.searchsorted(np.sort(second), at, side="right") / len(second)
    return float(np.abs(reached - seen).max())


def explained(
    reference: Any, window: Any, features: Sequence[str], weights: Values, trust: Values
) -> float | None:
    """Return the share of the features' distance that weights take away; None without any.

    At most 1; below 0 where the weighted reference is farther away than the plain one.
    """
    known = [name for name in features if name in reference and name != SCORE]
    was = sum(distance(reference[name], window[name], trust) for name in known)
    if was <= 0:
        return None
    now = sum(distance(reference[name], window[name], weights) for name in known)
    return 1 - now / was


def is_input(feature: str) -> bool:
    """Say whether a watched column is of the inputs, and not of the model's answers."""
    return feature.startswith((COMPONENT_PREFIX, NUMBER_PREFIX, CATEGORY_PREFIX))
