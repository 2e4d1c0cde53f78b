"""Rows that are far out or unsure, counted, and whether their share is that of the reference.

Of half of the reference's rows it is learned what is usual, and how far out a given quantile of
them is. The share of the other half beyond that is what a window's share is tested against: rows
that were learned from would seem more usual than any new one.

References
----------
Mahalanobis, "On the generalised distance in statistics", Proceedings of the National Institute of
Sciences of India 2, 1936.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidegate.config import MonitorConfig
from tidegate.monitoring.engine import Engine, Values
from tidegate.records import SCORE, DriftTest


def outlier_test(
    features: Sequence[str],
    reference: Any,
    window: Any,
    engine: Engine,
    level: float,
    config: MonitorConfig,
) -> DriftTest:
    """Test the shares of far-out and of unsure rows, each at half the level.

    Parameters
    ----------
    features : sequence of str
        Columns of numbers that distances are of.
    reference, window : DataFrame
        With these and, for unsureness, `score`.
    engine : Engine
        Whose distance, and whose test of two shares.
    level : float
        Of the family.
    config : MonitorConfig
        `outlier_quantile`, and the seed of the halves.

    Returns
    -------
    DriftTest
        Its `distance` is the larger difference of the two shares; what moved are the columns in
        which the window's far-out rows are farthest out, and the score where it is unsureness.
    """
    halves = np.random.default_rng(config.seed).permutation(len(reference))
    learned, held = np.sort(halves[: len(halves) // 2]), np.sort(halves[len(halves) // 2 :])
    before = _scaled(reference, features, reference.iloc[learned])
    after = _scaled(window, features, reference.iloc[learned])
    far = {
        "inputs": (
            engine.outlyingness(before[learned], before),
            engine.outlyingness(before[learned], after),
        )
    }
    if SCORE in reference:
        far[SCORE] = (entropy(reference[SCORE].to_numpy()), entropy(window[SCORE].to_numpy()))
    threshold = level / len(far)
    moved: list[str] = []
    p_values, distances = [], []
    for name, (first, second) in far.items():
        cut = float(np.quantile(first[learned], config.outlier_quantile))
        counts = [np.bincount(side > cut, minlength=2) for side in (first[held], second)]
        found = engine.categorical(counts[0], counts[1])
        p_values.append(found.p_value)
        distances.append(found.distance)
        if found.p_value > threshold:
            continue
        if name == SCORE:
            moved.append(SCORE)
        elif (second > cut).any():
            by_column = np.abs(after[second > cut]).mean(axis=0)
            moved += [features[i] for i in np.argsort(-by_column, kind="stable")]
    return DriftTest(
        name="outlier",
        features=len(far),
        drifted=min(p_values) <= threshold,
        p_value=min(p_values),
        threshold=threshold,
        distance=max(distances),
        moved_features=tuple(moved[: config.moved_features]),
    )


def entropy(scores: Values) -> Values:
    """Return how unsure each score is, in bits."""
    p = np.clip(np.asarray(scores, dtype=np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def _scaled(table: Any, features: Sequence[str], norm: Any) -> Values:
    """Return columns on the norm's scale, missing cells at its mean."""
    usual = norm[list(features)].to_numpy(np.float64)
    known = ~np.isnan(usual)
    count = np.maximum(1, known.sum(axis=0))
    centre = np.where(known, usual, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, usual - centre, 0.0) ** 2).sum(axis=0) / count)
    spread[spread == 0] = 1.0
    values = table[list(features)].to_numpy(np.float64)
    return np.asarray(np.nan_to_num((values - centre) / spread))
