"""Precision at a prevalence other than the sample's (prior shift).

A precision measured where 30 % of the rows violate says little about traffic where 3 % do. If
the scores of violating and of harmless rows keep their distributions and only their mix changes
(prior shift), the odds of a flag being right scale by the ratio of the prior odds. That map is
monotone, so a floor on production precision is a floor on sample precision, and the exact
binomial test stays exact; weighting rows instead would give up that exactness. The sample's own
prevalence enters as measured. It rises and falls with the share of right flags, so that treating
it as known makes the bounds slightly wider than they need to be, not narrower.

References
----------
Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori
probabilities", Neural Computation 14, 2002.
"""


def precision_in_production(precision: float, sample: float, production: float | None) -> float:
    """Carry a precision from the sample's prevalence to production's (None: the same)."""
    if production is None or precision <= 0 or precision >= 1:
        return precision
    ratio = _prior_odds_ratio(sample, production)
    return precision * ratio / (precision * ratio + 1 - precision)


def floor_on_sample(floor: float, sample: float, production: float | None) -> float:
    """Return the precision that the sample must show for `floor` to hold in production."""
    if production is None:
        return floor
    if sample <= 0 or sample >= 1:
        # One class only: nothing says how often harmless rows would be flagged.
        return 1.0
    ratio = _prior_odds_ratio(sample, production)
    return floor / (floor + ratio * (1 - floor))


def _prior_odds_ratio(sample: float, production: float) -> float:
    if sample >= 1:
        return 0.0
    if sample <= 0:
        return float("inf")
    return (production / (1 - production)) / (sample / (1 - sample))
