"""How good scores are on labelled, weighted rows: the two figures that every trial reports."""

from tidegate.models.interface import Labels, Scores, Weights


def average_precision(y: Labels, score: Scores, weight: Weights) -> float:
    """Return the weighted average precision (PR-AUC) of scores of shape (rows,)."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, score, sample_weight=weight))


def log_loss(y: Labels, score: Scores, weight: Weights) -> float:
    """Return the weighted cross-entropy, in nats, of scores of shape (rows,)."""
    from sklearn.metrics import log_loss as cross_entropy

    return float(cross_entropy(y, score, sample_weight=weight, labels=[0, 1]))
