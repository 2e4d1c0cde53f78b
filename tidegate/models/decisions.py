"""What is done with scored posts: the one function that batch scoring and the server share."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegate.decision_rule import answered_scores, reached_classes, row_thresholds
from tidegate.models.interface import Scores
from tidegate.records import BundleManifest

_DECISIONS = np.array(["leave", "review", "flagged"])


@dataclass(frozen=True)
class Decisions:
    """What the bundle's rule says of each row.

    Parameters
    ----------
    decision : array of str or None
        ``flagged``, ``review`` or ``leave``, shape (rows,); None where the bundle has no threshold
        of any kind.
    threshold : array
        From which score a row is flagged, on the model's own scale, shape (rows,); NaN where no
        score is.
    answered_score : array
        The score that clients are told, shape (rows,): on the lasting scale or calibrated, where
        the rule says how, else the model's own.
    classes : array of bool or None
        Which outputs of the target reach a threshold of their own, shape (rows, outputs); None
        without such thresholds. They name what a post is; `decision` goes by the score alone.
    """

    decision: npt.NDArray[np.str_] | None
    threshold: Scores
    answered_score: Scores
    classes: npt.NDArray[np.bool_] | None = None

    @property
    def flagged(self) -> npt.NDArray[np.bool_] | None:
        """Which rows are acted on, shape (rows,); None where `decision` is."""
        return None if self.decision is None else self.decision == "flagged"


def decide(
    manifest: BundleManifest,
    scores: Scores,
    outputs: Scores | None = None,
    segments: Iterable[object] | None = None,
) -> Decisions:
    """Apply a bundle's decision rule.

    Parameters
    ----------
    manifest : BundleManifest
        Holds the threshold and the rule.
    scores : array, shape (rows,)
        The model's own scores.
    outputs : array, shape (rows, outputs of the target), optional
        The model's probabilities; class thresholds need them.
    segments : iterable, optional
        Each row's value of the rule's segment column, which is one of the bundle's inputs, or
        what the client says beside them; a row's None is a post without a segment. Rows of a
        segment that evaluation did not see, and all rows where `segments` is None, go by the
        bundle's threshold.
    """
    rule = manifest.rule
    threshold = row_thresholds(manifest.threshold, rule.segment_thresholds, segments, scores.size)
    cuts = (manifest.threshold, rule.review_threshold, *rule.segment_thresholds.values())
    decision = None
    if any(cut is not None for cut in cuts):
        review = np.inf if rule.review_threshold is None else rule.review_threshold
        # A comparison with NaN is false, and so flags nothing.
        decision = _DECISIONS[np.where(scores >= threshold, 2, scores >= review)]
    classes = None
    if rule.class_thresholds and outputs is not None:
        classes = reached_classes(rule.class_thresholds, manifest.target.outputs, outputs)
    return Decisions(
        decision=decision,
        threshold=threshold,
        answered_score=answered_scores(rule, scores),
        classes=classes,
    )
