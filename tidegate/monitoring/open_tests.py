"""Two-sample tests by scipy and scikit-learn alone, whose licences permit production.

References
----------
Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", JMLR 13, 2012.
Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017.
"""

import numpy as np

from tidegate.monitoring.engine import Counts, Found, Values
from tidegate.monitoring.tails import drawn_p_value, higher_ranks

_FOLDS = 2
_LEAST_VARIANCE = 1e-6


class OpenTests:
    """See `tidegate.monitoring.engine.Engine`.

    Parameters
    ----------
    seed : int
        Of permutations and folds.
    """

    name = "open"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def continuous(self, before: Values, after: Values) -> list[Found]:
        """Two-sample Kolmogorov-Smirnov per column."""
        from scipy.stats import kstwo

        n, m = len(before), len(after)
        distances = np.zeros(before.shape[1])
        for column in range(before.shape[1]):
            first, second = np.sort(before[:, column]), np.sort(after[:, column])
            at = np.concatenate([first, second])
            shares = [
                np.searchsorted(side, at, side="right") / len(side) for side in (first, second)
            ]
            distances[column] = np.abs(shares[0] - shares[1]).max()
        p_values = kstwo.sf(distances, max(1, round(n * m / (n + m))))
        return [Found(float(p), float(d)) for p, d in zip(p_values, distances, strict=True)]

    def categorical(self, before: Counts, after: Counts) -> Found:
        """Pearson's chi-square of homogeneity, Fisher's exact test of two categories."""
        from scipy.stats import chi2_contingency, fisher_exact

        table = np.array([before, after])
        table = table[:, table.sum(axis=0) > 0]
        if table.shape[1] < 2 or not table.sum(axis=1).all():
            return Found(1.0, 0.0)
        shares = table / table.sum(axis=1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        if table.shape[1] == 2:
            return Found(float(fisher_exact(table)[1]), distance)
        return Found(float(chi2_contingency(table, correction=False)[1]), distance)

    def kernel(self, before: Values, after: Values, *, level: float) -> Found:
        """Maximum mean discrepancy under permutation, Gaussian kernel of the median distance."""
        from scipy.spatial.distance import cdist

        rows = np.concatenate([before, after]).astype(np.float32)
        squared = cdist(rows, rows, "sqeuclidean").astype(np.float32)
        width = float(np.median(squared[np.triu_indices(len(rows), 1)]))
        kernel = np.exp(-squared / max(width, 1e-12))
        np.fill_diagonal(kernel, 0.0)
        n, m = len(before), len(after)
        rng = np.random.default_rng(self._seed)

        def distances(first: np.ndarray) -> Values:
            """Return the unbiased estimate for 0/1 rows that say who is on the first side."""
            inside = np.einsum("ij,ij->i", first @ kernel, first)
            row_sums = kernel.sum(axis=1)
            to_all = first @ row_sums
            between = to_all - inside
            other = row_sums.sum() - 2 * to_all + inside
            return np.asarray(
                inside / (n * (n - 1)) + other / (m * (m - 1)) - 2 * between / (n * m), np.float64
            )

        order = (np.arange(n + m) < n).astype(np.float32)
        observed = float(distances(order[None, :])[0])

        def as_far(draws: int) -> int:
            drawn = rng.permuted(np.broadcast_to(order, (draws, n + m)), axis=1)
            return int((distances(drawn) >= observed).sum())

        return Found(drawn_p_value(as_far, level), observed)

    def classifier(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Logistic regression on one half, a rank test of its scores on the other, both ways."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold

        X = np.concatenate([before, after])
        side = np.arange(len(X)) >= len(before)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=self._seed)
        p_values, areas = [], []
        weights = np.zeros(X.shape[1])
        for learned, held in folds.split(X, side):
            model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=200)
            model.fit(X[learned], side[learned])
            score = X[held] @ model.coef_[0]
            new, old = score[side[held]], score[~side[held]]
            p_value, area = higher_ranks(new, old, level=level / _FOLDS, seed=self._seed)
            p_values.append(p_value)
            areas.append(area)
            weights += np.abs(model.coef_[0]) / _FOLDS
        p_value = min(1.0, _FOLDS * min(p_values))
        return Found(p_value, float(np.mean(areas)) - 0.5), weights

    def spot_the_diff(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Nearness to a place learned on one half, a rank test of it on the other, both ways."""
        from tidegate.monitoring.spotting import held_out_test

        return held_out_test(before, after, level=level, seed=self._seed)

    def outlyingness(self, norm: Values, rows: Values) -> Values:
        """Distance from the norm's mean by its covariance (Mahalanobis)."""
        centre = norm.mean(axis=0)
        sizes, directions = np.linalg.eigh(np.atleast_2d(np.cov(norm, rowvar=False)))
        varying = sizes > _LEAST_VARIANCE
        scale = directions[:, varying] / np.sqrt(sizes[varying])
        return np.asarray(np.linalg.norm((rows - centre) @ scale, axis=1))
