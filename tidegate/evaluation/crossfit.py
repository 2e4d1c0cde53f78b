"""Training rows as further evidence: scored by models of their folds that never saw them.

A model that serves has learned from every training row, so its scores there prove nothing.
Models of the same recipe, each trained without one fold, score that fold honestly, but they are
other models on slightly other scales. Two uses take that seriously:

*Start.* The fold scores only say where the tests on validation begin. Validation labels take no
part in that choice, so the guarantee stays exact whatever the fold models are.

*Combined.* Validation rows are scored by the fold models too. For a cut t let ``h`` be a row's
contribution to "precision is above the floor", ``(y - floor) * [score >= t]``, and ``g`` the mean
of the same over the fold models. Then ``mean(h - λ g)`` over validation plus ``λ mean(g)`` over the
training rows, each by its own fold's model, estimates the mean of ``h`` for *any* fold models: what
they do wrongly, they do on both sides. Its variance is smaller, the more the fold models agree with
the model that serves. The assumption, and there is no other: training and validation rows come
from one population (a random split, not a split by time), and enough rows for a mean to be normal.

References
----------
Angelopoulos, Duchi and Zrnic, "PPI++: efficient prediction-powered inference", 2023 (the weight λ).
Zrnic and Candès, "Cross-prediction-powered inference", PNAS 121, 2024.
Bayle, Bayle, Janson and Mackey, "Cross-validation confidence intervals for test error", NeurIPS
2020 (why the mean over folds is normal with the variance of independent rows).
Korn and Graubard, "Confidence intervals for proportions with small expected number of positive
counts estimated from survey data", Survey Methodology 24, 1998 (exact bounds at effective counts).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.errors import BadInput
from tidegate.evaluation.intervals import FloatArray
from tidegate.evaluation.ranking import Ranked, rank

#: Score, label and weight, one value a row each.
Rows = tuple[FloatArray, FloatArray, FloatArray]

# The method's constant: the p-value below which two populations are taken to be seen.
_VISIBLE = 0.01
_COLUMNS = ("split", "id", "label", "weight", "fold", "score")


@dataclass(frozen=True)
class Fold:
    """One fold model: what it scores of the training rows it left out, and of validation.

    Parameters
    ----------
    scores, labels, weights : arrays, shape (rows of the fold,)
        Training rows that the model did not learn from.
    validation : array, shape (validation rows,) or None
        The same model's scores of the validation rows, in their order.
    """

    scores: FloatArray
    labels: FloatArray
    weights: FloatArray
    validation: FloatArray | None


@dataclass(frozen=True)
class EffectiveCounts:
    """Rows and violating rows flagged at each cut, as independent rows would count."""

    rows: FloatArray
    hits: FloatArray


def read_folds(table: Any, validation: Any) -> tuple[Fold, ...]:
    """Read ``scored/crossfit.parquet``.

    Parameters
    ----------
    table : DataFrame
        ``split, id, label, weight, fold, score``: the rows of split ``train`` once, scored by the
        model of their fold, and those of split ``validation`` once a fold, each time in the order
        of `validation`. Without the latter the folds can only say where testing begins.
    validation : DataFrame
        The scored validation table.

    Raises
    ------
    BadInput
        If a column is missing, or the validation rows are others.
    """
    where = "scored/crossfit.parquet"
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise BadInput(where, f"needs a column {missing[0]!r}", "score the folds again")
    train, again = (table[table["split"] == name] for name in ("train", "validation"))
    folds = []
    for number in sorted(train["fold"].unique()):
        rows, seen = train[train["fold"] == number], again[again["fold"] == number]
        if len(again) and list(seen["id"]) != list(validation["id"]):
            raise BadInput(
                where,
                f"fold {number} scored validation rows other than those of the scored table",
                "score the folds again",
            )
        folds.append(
            Fold(
                scores=rows["score"].to_numpy(dtype=np.float64),
                labels=rows["label"].to_numpy(dtype=np.float64),
                weights=rows["weight"].to_numpy(dtype=np.float64),
                validation=seen["score"].to_numpy(dtype=np.float64) if len(again) else None,
            )
        )
    return tuple(folds)


def surest_start(folds: tuple[Fold, ...], floor: float) -> float | None:
    """Return the share of rows whose precision the folds show to be most surely above `floor`.

    None when they show it nowhere.
    """
    shares = np.linspace(0.01, 1.0, 100)
    hits, mass, total = np.zeros(shares.size), np.zeros(shares.size), 0.0
    for fold in folds:
        ranked = rank(fold.scores, fold.labels, fold.weights)
        cuts = ranked.cuts_at(shares * ranked.total)
        hits += ranked.hits(cuts)
        mass += ranked.mass(cuts)
        total += ranked.total
    some = mass > 0
    above = np.where(some, (hits - floor * mass) / np.sqrt(np.where(some, mass, 1.0)), 0.0)
    best = int(np.argmax(above))
    return float(mass[best] / total) if above[best] > 0 else None


def one_population(rows: Rows, folds: tuple[Fold, ...]) -> bool:
    """Return whether training and validation rows may come from one population.

    False where a fold has no validation scores, or where the share of violating rows or the
    scores of a fold's model visibly differ between the two (Kolmogorov-Smirnov, Bonferroni). That
    finds gross breaks, such as a sampled training table; a small one stays unseen.
    """
    from scipy.stats import ks_2samp, norm

    if not folds or any(fold.validation is None for fold in folds):
        return False
    _, label, weight = rows
    outside = np.concatenate([fold.labels for fold in folds])
    trust = np.concatenate([fold.weights for fold in folds])
    shares = np.average(label, weights=weight), np.average(outside, weights=trust)
    sizes = [w.sum() ** 2 / (w**2).sum() for w in (weight, trust)]
    error = np.sqrt(sum(s * (1 - s) / n for s, n in zip(shares, sizes, strict=True)))
    found = [2 * norm.sf(abs(shares[0] - shares[1]) / error)] if error > 0 else []
    found += [ks_2samp(fold.scores, fold.validation, method="asymp").pvalue for fold in folds]
    return bool(min(found) * (len(folds) + 1) >= _VISIBLE)


def combined_counts(
    ranked: Ranked,
    cuts: FloatArray,
    rows: Rows,
    folds: tuple[Fold, ...],
    floor: float,
) -> EffectiveCounts:
    """Return what validation and folds together show at each cut.

    The estimate of precision and its variance are turned into as many independent rows as would
    have that variance, so that the exact binomial test applies; without folds that help, they are
    validation's own counts.

    Parameters
    ----------
    ranked : Ranked
        The validation rows by the scores of the model that serves.
    cuts : array, shape (c,)
        High to low.
    rows : Rows
        The validation rows.
    folds : tuple of Fold
        With validation scores.
    floor : float
        Precision to be shown, between 0 and 1.
    """
    score, label, weight = rows
    n, c = score.size, cuts.size
    share = weight / weight.max()
    gain = share * (label - floor)
    mass, hits = ranked.mass(cuts), ranked.hits(cuts)
    entered = [np.searchsorted(-cuts, -score)]
    elsewhere = sum(fold.scores.size for fold in folds)
    outside_sum, outside_square = np.zeros(c), np.zeros(c)
    for fold in folds:
        # The fold's model flags as much of validation as the model that serves: no scale to match.
        seen = rank(fold.validation, label, weight)  # type: ignore[arg-type]
        fold_cuts = seen.cuts_at(mass)
        entered.append(np.searchsorted(-fold_cuts, -fold.validation))  # type: ignore[operator]
        outside = np.searchsorted(-fold_cuts, -fold.scores)
        value = fold.weights / weight.max() * (fold.labels - floor)
        outside_sum += _flagged_sum(outside, value, c)
        outside_square += _flagged_sum(outside, value**2, c)
    outside_mean = outside_sum / elsewhere
    outside_variance = np.maximum(outside_square / elsewhere - outside_mean**2, 0.0)

    own_mean = _flagged_sum(entered[0], gain, c) / n
    own_variance = _flagged_sum(entered[0], gain**2, c) / n - own_mean**2
    k = len(folds)
    fold_mean, fold_square, product = np.zeros(c), np.zeros(c), np.zeros(c)
    for i in range(1, k + 1):
        fold_mean += _flagged_sum(entered[i], gain, c) / (k * n)
        product += _flagged_sum(np.maximum(entered[0], entered[i]), gain**2, c) / (k * n)
        for j in range(1, k + 1):
            both = np.maximum(entered[i], entered[j])
            fold_square += _flagged_sum(both, gain**2, c) / (k * k * n)
    covariance = product - own_mean * fold_mean
    fold_variance = fold_square - fold_mean**2

    spread = fold_variance + outside_variance * n / elsewhere
    some = (spread > 0) & (own_variance > 0)
    pull = np.clip(covariance / np.where(some, spread, 1.0), 0.0, 1.0) * some
    variance = own_variance - 2 * pull * covariance + pull**2 * spread
    ratio = np.where(some, variance / np.where(some, own_variance, 1.0), 1.0)
    # Never more evidence than there are rows.
    ratio = np.clip(ratio, n / (n + elsewhere), 1.0)
    shift = pull * (outside_mean - fold_mean) * n
    effective = mass / ratio
    right = np.clip((hits + shift) / ratio, 0.0, effective)
    return EffectiveCounts(rows=effective, hits=right)


def _flagged_sum(entered: Any, values: FloatArray, cuts: int) -> FloatArray:
    """Sum `values` over the rows flagged at each cut; a row is flagged from cut `entered` on."""
    return np.cumsum(np.bincount(entered, weights=values, minlength=cuts + 1)[:cuts])
