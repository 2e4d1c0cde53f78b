"""The report's charts as Vega-Lite specifications.

Vega-Altair builds them, Vega draws them in the page, and their colours are CSS variables, so that
one drawing serves light, dark and print.
"""

from tidegate.evaluation.charts.drawing import Spec
from tidegate.evaluation.charts.evidence import (
    golden_history,
    group_pairs,
    identity_shifts,
    mitigated_gaps,
    pass_rates,
    score_scale,
    slice_losses,
)
from tidegate.evaluation.charts.figures import baseline_differences, gaps, group_rates, prevalence
from tidegate.evaluation.charts.runs import bounds_by_run
from tidegate.evaluation.charts.scores import precision_recall, reliability, score_histogram
from tidegate.evaluation.charts.trials import learning_curve, search_history

__all__ = [
    "Spec",
    "baseline_differences",
    "bounds_by_run",
    "gaps",
    "golden_history",
    "group_pairs",
    "group_rates",
    "identity_shifts",
    "learning_curve",
    "mitigated_gaps",
    "pass_rates",
    "precision_recall",
    "prevalence",
    "reliability",
    "score_histogram",
    "score_scale",
    "search_history",
    "slice_losses",
]
