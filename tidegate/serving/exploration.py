"""Decisions changed at random, by a key, so that what the model never lets be seen can be measured.

A platform that acts on every flagged post learns nothing of the posts that it was wrong about. With
exploration a small share of flagged rows is let through, and of rows left alone sent to review,
each with a probability that is logged. Weighting what is seen by one over that probability
(Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe",
JASA 47, 1952) gives estimates of all flagged rows that are free of the model's own choice.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tidegate.config import ExplorationConfig
from tidegate.errors import BadInput
from tidegate.records import ServedDecision
from tidegate.serving.keyed_draw import checked_key, read_key, uniform

_WHERE = "serving.exploration"


class Explored(NamedTuple):
    """What was answered for each row, in the order asked; all three have one entry a row.

    `probabilities` holds the chance with which that row's action was drawn; it is 1 where nothing
    else could have been drawn.
    """

    actions: tuple[ServedDecision, ...]
    explored: tuple[bool, ...]
    probabilities: tuple[float, ...]


class Exploration:
    """Changes a configured share of decisions by a keyed hash of the row's id.

    The same id always draws the same, on every replica and after a restart, so that asking again
    does not get a post through. Without the key nobody can tell which posts will pass. An id must
    therefore be that of a post: the id of an account would let all its posts through.

    Parameters
    ----------
    config : ExplorationConfig
        The shares; all are 0 unless set.
    key : bytes, optional
        The secret; needed where any share is above 0.

    Raises
    ------
    BadInput
        If something is to be explored and there is no key, or one of fewer than 16 bytes.
    """

    def __init__(self, config: ExplorationConfig, key: bytes | None = None) -> None:
        self._config = config
        self._never = frozenset(config.never)
        self._key = b""
        if self.is_on:
            self._key = checked_key(key, where=_WHERE, purpose="before it may explore")

    @classmethod
    def from_environment(cls, config: ExplorationConfig) -> "Exploration":
        """Take the key from the environment variable that the configuration names.

        Raises
        ------
        BadInput
            If something is to be explored and the variable holds no fit key.
        """
        if not _is_on(config):
            return cls(config)
        return cls(config, read_key(config.key_variable, where=_WHERE, purpose="to explore"))

    @property
    def is_on(self) -> bool:
        """Whether any decision can change."""
        return _is_on(self._config)

    def explore(
        self,
        decisions: Sequence[ServedDecision],
        row_ids: Sequence[str | None],
        segments: Sequence[str | None],
        classes: Sequence[Collection[str] | str | None],
    ) -> Explored:
        """Draw the action for each decision; all four sequences have one entry a row.

        Parameters
        ----------
        decisions : sequence of str
            What the thresholds say: ``flagged``, ``review`` or ``leave``.
        row_ids : sequence of str or None
            The client's id of each row. A row without one keeps its decision: no label could
            come back for it.
        segments : sequence of str or None
            Each row's segment, for the shares that are set by segment.
        classes : sequence
            The classes that each row is flagged for: names, one name or None. A row with any of
            the configured `never` is not let through.
        """
        if not self.is_on:
            rows = len(decisions)
            return Explored(tuple(decisions), (False,) * rows, (1.0,) * rows)
        drawn = [
            self._draw(*row) for row in zip(decisions, row_ids, segments, classes, strict=True)
        ]
        return Explored(
            actions=tuple(action for action, _, _ in drawn),
            explored=tuple(explored for _, explored, _ in drawn),
            probabilities=tuple(probability for _, _, probability in drawn),
        )

    def _draw(
        self,
        decision: ServedDecision,
        row_id: str | None,
        segment: str | None,
        classes: Collection[str] | str | None,
    ) -> tuple[ServedDecision, bool, float]:
        share, other = self._offer(decision, segment, classes)
        if row_id is None or share == 0.0:
            return decision, False, 1.0
        if uniform(self._key, "explore", row_id) < share:
            return other, True, share
        return decision, False, 1.0 - share

    def _offer(
        self,
        decision: ServedDecision,
        segment: str | None,
        classes: Collection[str] | str | None,
    ) -> tuple[float, ServedDecision]:
        """Return how likely the decision changes, and to what."""
        if decision == "leave":
            return self._config.review_share, "review"
        if decision == "flagged":
            held_for = (classes,) if isinstance(classes, str) else classes or ()
            if self._never.isdisjoint(held_for):
                share = self._config.allow_share
                if segment is not None:
                    share = self._config.segments.get(segment, share)
                return share, "leave"
        return 0.0, decision


def require_known_classes(config: ExplorationConfig, classes: Collection[str]) -> None:
    """Refuse a `never` that names no class of the model: a typo there would let posts through.

    Raises
    ------
    BadInput
        If a name of `never` is not one of `classes`.
    """
    for name in config.never:
        if name not in classes:
            known = ", ".join(sorted(classes)) or "none: it only tells violating from not"
            raise BadInput(
                f"{_WHERE}.never",
                f"{name!r} is no class of this model",
                f"its classes are {known}",
            )


def _is_on(config: ExplorationConfig) -> bool:
    shares = (config.allow_share, config.review_share, *config.segments.values())
    return any(share > 0 for share in shares)
