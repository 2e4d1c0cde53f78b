"""The report's charts as Vega-Lite specifications.

Vega-Altair builds them, Vega draws them in the page, and their colours are CSS variables, so that
one drawing serves light, dark and print.
"""

from tidegate.evaluation.charts.drawing import Spec
from tidegate.evaluation.charts.figures import baseline_differences, gaps, group_rates, prevalence
from tidegate.evaluation.charts.runs import bounds_by_run
from tidegate.evaluation.charts.scores import precision_recall, reliability, score_histogram
from tidegate.evaluation.charts.trials import learning_curve, search_history

__all__ = [
    "Spec",
    "baseline_differences",
    "bounds_by_run",
    "gaps",
    "group_rates",
    "learning_curve",
    "precision_recall",
    "prevalence",
    "reliability",
    "score_histogram",
    "search_history",
]
