"""Two-sample tests by scipy and scikit-learn alone, whose licences permit production.

References
----------
Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", JMLR 13, 2012.
Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017.
Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991.
"""

import math

import numpy as np

from tidegate.monitoring.detection import Counts, Found, Values

_BATCH = 200
# A permutation test ends when so many permutations are as far as the observed order: it is then
# sure not to reach any level that is asked for here.
_ENOUGH_AS_FAR = 20
_FOLDS = 2
_LEAST_VARIANCE = 1e-6


class OpenTests:
    """See `tidegate.monitoring.detection.Engine`.

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
        from scipy.stats import ks_2samp

        found = (
            ks_2samp(before[:, i], after[:, i], method="asymp") for i in range(before.shape[1])
        )
        return [Found(float(test.pvalue), float(test.statistic)) for test in found]

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

        order = np.arange(n + m) < n
        observed = float(distances(order[None, :].astype(np.float32))[0])
        needed, made, as_far = math.ceil(2 / level), 0, 0
        while made < needed and as_far < _ENOUGH_AS_FAR:
            drawn = np.argsort(rng.random((_BATCH, n + m), dtype=np.float32), axis=1) < n
            as_far += int((distances(drawn.astype(np.float32)) >= observed).sum())
            made += _BATCH
        return Found((as_far + 1) / (made + 1), observed)

    def classifier(self, before: Values, after: Values) -> tuple[Found, Values]:
        """Logistic regression on one half, a rank test of its scores on the other, both ways."""
        from scipy.stats import mannwhitneyu
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
            test = mannwhitneyu(new, old, alternative="greater")
            p_values.append(float(test.pvalue))
            areas.append(float(test.statistic) / (len(new) * len(old)))
            weights += np.abs(model.coef_[0]) / _FOLDS
        p_value = min(1.0, _FOLDS * min(p_values))
        return Found(p_value, float(np.mean(areas)) - 0.5), weights

    def spot_the_diff(self, before: Values, after: Values) -> tuple[Found, Values]:
        """Nearness to a place learned on one half, a rank test of it on the other, both ways."""
        from tidegate.monitoring.spotting import held_out_test

        return held_out_test(before, after, seed=self._seed)

    def outlyingness(self, norm: Values, rows: Values) -> Values:
        """Distance from the norm's mean by its covariance (Mahalanobis)."""
        centre = norm.mean(axis=0)
        sizes, directions = np.linalg.eigh(np.atleast_2d(np.cov(norm, rowvar=False)))
        varying = sizes > _LEAST_VARIANCE
        scale = directions[:, varying] / np.sqrt(sizes[varying])
        return np.asarray(np.linalg.norm((rows - centre) @ scale, axis=1))
