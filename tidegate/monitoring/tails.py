"""P-values that hold at the small levels of a year's checks, where approximations do not.

Under no change the rows of both sides are one sample that chance has dealt out to the two. That
gives every statistic an exact distribution, which is counted out, or drawn from. An engine's own
p-value, where it is an approximation, only says whether that is worth the while.

References
----------
Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991.
Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in
Genetics and Molecular Biology 9, 2010.
Wei and Dudley, "Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities", Statistics & Probability
Letters 82, 2012.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: Approximations above this are believed: a true one would not be near any level asked for here.
DOUBTFUL = 0.05
_BATCH = 200
# A drawn test ends when so many draws are as far as what was observed: it is then sure not to
# reach any level that is asked for here.
_ENOUGH_AS_FAR = 20
# The most pairs of rows whose paths are counted out. Beyond, with over 150 rows a side, the bound
# is at most a quarter above the truth.
_MOST_PAIRS = 3_000_000
# The most categories that draws tell apart; exact tests of single categories see all.
_MOST_DRAWN = 30


def drawn_p_value(as_far: Callable[[int], int], level: float) -> float:
    """Return a p-value by drawing until it is sure to be above a level, or twice its inverse.

    Parameters
    ----------
    as_far : callable
        Makes so many draws under no change, and returns how many are as far as the observed one.
    level : float
        The p-value is exact up to here.
    """
    needed, made, found = math.ceil(2 / level), 0, 0
    while made < needed and found < _ENOUGH_AS_FAR:
        found += as_far(_BATCH)
        made += _BATCH
    return (found + 1) / (made + 1)


def kolmogorov_smirnov(before: Values, after: Values, *, distance: float) -> float:
    """Return the p-value of the largest distance of two distribution functions.

    By counting lattice paths; of large samples by the bound of Dvoretzky, Kiefer and Wolfowitz
    in its two-sample form. Ties make either larger than it need be.
    """
    from scipy.stats import ks_2samp

    n, m = len(before), len(after)
    if n * m <= _MOST_PAIRS:
        return float(ks_2samp(before, after, method="exact").pvalue)
    return min(1.0, 2 * math.exp(-2 * n * m / (n + m) * distance**2))


def homogeneity(
    before: Counts, after: Counts, *, approximate: float, level: float, seed: int
) -> float:
    """Return a p-value of counts of the same categories on two sides.

    Half of the level looks at every category alone (Fisher's exact test), half at all together
    (Pearson's chi-square against tables drawn with the same margins). So a new category is found
    among a thousand old ones, and a change of all of them too.

    Parameters
    ----------
    before, after : array, shape (categories,)
        Which categories are pooled may depend on the sum of both sides alone.
    approximate : float
        Of the chi-square test; exact where there are two categories.
    level : float
        A p-value above it need not be exact.
    seed : int
        Of the draws.
    """
    both = before + after
    before, after, both = before[both > 0], after[both > 0], both[both > 0]
    if len(both) <= 2:
        return approximate
    alone = min(1.0, 2 * _farthest_category(after, both))
    if alone <= level:
        return alone
    if approximate > max(DOUBTFUL, level):
        return approximate
    first = np.argsort(-both, kind="stable")
    kept, rest = first[:_MOST_DRAWN], first[_MOST_DRAWN:]
    margin = np.append(both[kept], both[rest].sum())
    seen = np.append(after[kept], after[rest].sum())
    margin, seen = margin[margin > 0], seen[margin > 0]
    rows, rng = int(after.sum()), np.random.default_rng(seed)
    expected = margin * (rows / both.sum())

    def distance(tables: Counts) -> Values:
        return np.asarray(((tables - expected) ** 2 / expected).sum(axis=-1))

    # Tables as far as the observed one differ from it by rounding.
    observed = float(distance(seen)) * (1 - 1e-9)

    def as_far(draws: int) -> int:
        tables = rng.multivariate_hypergeometric(margin, rows, size=draws, method="marginals")
        return int((distance(tables) >= observed).sum())

    return min(alone, 2 * drawn_p_value(as_far, level / 2))


def _farthest_category(after: Counts, both: Counts) -> float:
    """Return the p-value of the category that is farthest from its share (Bonferroni)."""
    from scipy.stats import hypergeom

    rows = (both.sum(), both, after.sum())
    least = np.minimum(hypergeom.cdf(after, *rows), hypergeom.sf(after - 1, *rows))
    return min(1.0, 2 * len(both) * float(least.min()))


def higher_ranks(new: Values, old: Values, *, level: float, seed: int) -> tuple[float, float]:
    """Test whether new values are higher than old ones, by ranks (Mann and Whitney).

    Returns
    -------
    tuple of float
        The p-value, exact up to `level`, and the chance that a new value is above an old one.
    """
    from scipy.stats import mannwhitneyu, rankdata

    test = mannwhitneyu(new, old, alternative="greater", method="asymptotic")
    area = float(test.statistic) / (len(new) * len(old))
    if test.pvalue > max(DOUBTFUL, level):
        return float(test.pvalue), area
    ranks = rankdata(np.concatenate([new, old]))
    observed, rng = ranks[: len(new)].sum() - 1e-6, np.random.default_rng(seed)

    def as_far(draws: int) -> int:
        dealt = rng.permuted(np.broadcast_to(ranks, (draws, len(ranks))), axis=1)
        return int((dealt[:, : len(new)].sum(axis=1) >= observed).sum())

    return drawn_p_value(as_far, level), area
