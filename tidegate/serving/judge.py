"""From checked rows to answers: score, decision, action, path and reasons of each row."""

import logging
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tidegate.models.decisions import Decisions, decide
from tidegate.models.target import score_of
from tidegate.records import INPUT_PREFIX, BundleManifest, ServedDecision
from tidegate.serving.exploration import Exploration
from tidegate.serving.metrics import Metrics
from tidegate.serving.request import Asked
from tidegate.serving.schema import Row

if TYPE_CHECKING:
    from tidegate.serving.routing import Routing

logger = logging.getLogger(__name__)

Path = Literal["full", "light", "heavy", "new_account", "new_account_light", "new_account_heavy"]
_PATHS: Mapping[tuple[bool, bool | None], Path] = {
    (False, None): "full",
    (False, True): "light",
    (False, False): "heavy",
    (True, None): "new_account",
    (True, True): "new_account_light",
    (True, False): "new_account_heavy",
}
Reasons = Mapping[str, Any]


class Scorer(Protocol):
    """What the server needs of a bundle."""

    @property
    def manifest(self) -> BundleManifest:
        """Name, version, input columns, threshold and rule."""

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """Return the score of each row, shape (rows,)."""

    def output_rows(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """Return all outputs of each row, shape (rows, outputs of the manifest's target)."""


class Router(Protocol):
    """What the server needs of a cascade, whose rows go different ways."""

    @property
    def load(self) -> float:
        """Where the knob stands, in [0, 1]."""

    def feel(self, in_hand: int) -> None:
        """Turn the knob by the number of requests in hand, if it is not fixed."""

    def route(self, rows: Sequence[Mapping[str, Any]]) -> "Routing":
        """Return score and way of each row."""

    def warm_up(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Let both models score rows."""


class PayloadSink(Protocol):
    """Where served rows go: a log that is written behind the server's back."""

    def offer(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take rows of `PAYLOAD_COLUMNS` and inputs; never wait, drop what has no room."""


#: ``explain(rows)`` returns each row's method and contributions.
Explain = Callable[[Sequence[Row]], Sequence[Reasons]]


class ScoringFailed(Exception):
    """The model failed on a request that kept the schema: a defect, never the client's fault."""


@dataclass(frozen=True)
class Answered:
    """What one request is answered, a value a row.

    Parameters
    ----------
    scores : list of float
        On the model's own scale, as thresholds are.
    answered_scores : list of float, optional
        On the scale that lasts over versions, or calibrated, where the bundle's rule says how.
    thresholds : list of float or None
        From which score the row is flagged; None where no score is.
    decisions, actions : list of str, optional
        What the thresholds say and what is done; None where the bundle has no threshold.
    paths : list of str
        ``full``, or in a cascade ``light`` (stopped there) and ``heavy``; where nothing is known
        of the account's past ``new_account``, ``new_account_light`` and ``new_account_heavy``.
    outputs : ndarray of shape (rows, outputs)
        Probabilities of the classes or tasks; no column where there are two classes.
    classes : list of list of str, optional
        Outputs that reach a threshold of their own.
    reasons : sequence, optional
        Of each score, where they were asked for.
    """

    scores: list[float]
    answered_scores: list[float] | None
    thresholds: list[float | None]
    decisions: list[ServedDecision] | None
    actions: list[ServedDecision] | None
    paths: list[Path]
    outputs: npt.NDArray[np.float64]
    classes: list[list[str]] | None = None
    reasons: Sequence[Reasons] | None = None


class Scored(NamedTuple):
    """Scores of shape (rows,) and what stands beside them.

    `outputs`, of shape (rows, outputs), is what is told of classes and tasks. `stopped` says which
    rows a cascade's heavy model never saw; None where there is no cascade.
    """

    scores: npt.NDArray[np.float64]
    outputs: npt.NDArray[np.float64]
    stopped: npt.NDArray[np.bool_] | None


class Judge:
    """A bundle's scores, and what its rule and the configuration make of them.

    Parameters
    ----------
    bundle : Scorer
    metrics : Metrics
    name : str, optional
        What the log calls the model; the bundle's own name without it.
    history : sequence of str
        Inputs that a new account has none of.
    explain : callable, optional
        Gives reasons; without it they are empty.
    sink : PayloadSink, optional
        Gets every answered row.
    exploration : Exploration, optional
        Changes actions; without it the action is the decision.
    router : Router, optional
        Of a cascade of two classes: scores rows in the bundle's place, and says their way.
    """

    def __init__(
        self,
        bundle: Scorer,
        metrics: Metrics,
        *,
        name: str | None = None,
        history: Sequence[str] = (),
        explain: Explain | None = None,
        sink: PayloadSink | None = None,
        exploration: Exploration | None = None,
        router: Router | None = None,
    ) -> None:
        self._bundle, self._manifest, self._metrics = bundle, bundle.manifest, metrics
        self._name = name or self._manifest.name
        self._history, self._explain = tuple(history), explain
        self._sink, self._exploration, self._router = sink, exploration, router
        column, inputs = self._manifest.rule.segment_column, self._manifest.inputs
        self._segment_input = column if any(c.name == column for c in inputs) else None
        rule = self._manifest.rule
        self._is_mapped = rule.scale is not None or rule.calibration is not None

    @property
    def output_names(self) -> tuple[str, ...]:
        """What is told beside the score; nothing of two classes, whose score says it all."""
        target = self._manifest.target
        return () if target.kind == "binary" else target.outputs

    def judge(self, asked: Sequence[Asked]) -> list[Answered]:
        """Answer some requests together, in order.

        Raises
        ------
        ScoringFailed
            If the model fails on rows that keep the schema.
        """
        rows = [row for one in asked for row in one.rows]
        scores, outputs, stopped = self.score(rows)
        segments = [segment for one in asked for segment in self._segments(one)]
        anyone = any(segment is not None for segment in segments) or self._segment_input
        decided = decide(self._manifest, scores, outputs, segments if anyone else None)
        paths = self._paths(rows, stopped)
        decisions = None if decided.decision is None else decided.decision.tolist()
        classes = self._classes(decided)
        actions, explored, chances = decisions, [False] * len(rows), [1.0] * len(rows)
        ids: list[str | None] = []
        for one in asked:
            ids += one.ids or [None] * len(one.rows)
        if self._exploration is not None and decisions is not None:
            drawn = self._exploration.explore(
                decisions, ids, segments, self._named(classes, outputs)
            )
            actions, explored = list(drawn.actions), list(drawn.explored)
            chances = list(drawn.probabilities)
            self._metrics.explored(sum(explored))
        told = scores.tolist()
        thresholds = [None if math.isnan(cut) else cut for cut in decided.threshold.tolist()]
        self._metrics.scored(told, decisions, actions, paths)
        if stopped is not None:
            self._metrics.routed(len(rows), int(stopped.sum()))
        if self._sink is not None:
            nothing: list[str | None] = [None] * len(rows)
            columns: dict[str, Sequence[object]] = {
                "row_id": ids,
                "score": told,
                "threshold": thresholds,
                "decision": decisions or nothing,
                "action": actions or nothing,
                "explored": explored,
                "action_probability": chances,
                "segment": segments,
                "path": paths,
                "unit_id": [one.unit for one in asked for _ in one.rows],
                "arm": [one.arm for one in asked for _ in one.rows],
            }
            self._sink.offer(list(self._payloads(rows, columns)))
        whole = Answered(
            scores=told,
            answered_scores=decided.answered_score.tolist() if self._is_mapped else None,
            thresholds=thresholds,
            decisions=decisions,
            actions=actions,
            paths=paths,
            outputs=outputs,
            classes=classes,
        )
        answers = [whole] if len(asked) == 1 else list(_split(whole, asked))
        return [
            replace(answer, reasons=self._reasons(one)) if one.explain else answer
            for one, answer in zip(asked, answers, strict=True)
        ]

    def score(self, rows: list[Row]) -> Scored:
        """Score rows.

        Raises
        ------
        ScoringFailed
            If the model raises, or gives no finite score for every row.
        """
        outputs, stopped = np.empty((len(rows), 0)), None
        try:
            if self._router is not None:
                scores, stopped = self._router.route(rows)
            elif self.output_names:
                outputs = np.asarray(self._bundle.output_rows(rows), dtype=np.float64)
                scores = score_of(self._manifest.target, outputs)
            else:
                scores = np.asarray(self._bundle.score_rows(rows), dtype=np.float64)
        except Exception as error:
            raise _failed(error) from error
        finite = np.isfinite(scores).all() and np.isfinite(outputs).all()
        if scores.shape != (len(rows),) or not finite:
            logger.error("the model gave %s scores for %d rows", scores.shape, len(rows))
            raise ScoringFailed("the model gave no finite score for every row")
        return Scored(scores, outputs, stopped)

    def _reasons(self, one: Asked) -> Sequence[Reasons]:
        if self._explain is None:
            return [{} for _ in one.rows]
        try:
            return self._explain(one.rows)
        except Exception as error:
            raise _failed(error) from error

    def _segments(self, one: Asked) -> list[str | None]:
        if self._segment_input is None:
            return [one.segment] * len(one.rows)
        values = (row[self._segment_input] for row in one.rows)
        return [None if value is None else str(value) for value in values]

    def _paths(self, rows: Sequence[Row], stopped: npt.NDArray[np.bool_] | None) -> list[Path]:
        ways = [None] * len(rows) if stopped is None else stopped.tolist()
        return [_PATHS[self._is_new(row), way] for row, way in zip(rows, ways, strict=True)]

    def _is_new(self, row: Row) -> bool:
        return bool(self._history) and all(row[column] is None for column in self._history)

    def _classes(self, decided: Decisions) -> list[list[str]] | None:
        if decided.classes is None:
            return None
        names = self._manifest.target.outputs
        return [[names[place] for place in np.flatnonzero(row)] for row in decided.classes]

    def _named(
        self, classes: list[list[str]] | None, outputs: npt.NDArray[np.float64]
    ) -> list[list[str]]:
        """Return the classes of each row: those named, else the likeliest one."""
        names = self.output_names
        if not names:
            return [[] for _ in outputs]
        likeliest = outputs.argmax(axis=1).tolist()
        return [
            (classes[row] if classes is not None else []) or [names[place]]
            for row, place in enumerate(likeliest)
        ]

    def _payloads(
        self, rows: Sequence[Row], columns: Mapping[str, Sequence[object]]
    ) -> Iterator[dict[str, object]]:
        shared = {"model_name": self._name, "model_version": self._manifest.version}
        for number, row in enumerate(rows):
            yield {
                **shared,
                **{name: values[number] for name, values in columns.items()},
                **{f"{INPUT_PREFIX}{name}": value for name, value in row.items()},
            }


def _failed(error: Exception) -> ScoringFailed:
    # A library's message may quote the row, so only its type and place are logged.
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("scoring failed with %s\n%s", type(error).__name__, place)
    return ScoringFailed("the model failed on this request")


def _split(whole: Answered, asked: Sequence[Asked]) -> Iterator[Answered]:
    begin = 0
    for one in asked:
        here = slice(begin, begin + len(one.rows))
        begin = here.stop
        yield Answered(
            scores=whole.scores[here],
            answered_scores=whole.answered_scores and whole.answered_scores[here],
            thresholds=whole.thresholds[here],
            decisions=whole.decisions and whole.decisions[here],
            actions=whole.actions and whole.actions[here],
            paths=whole.paths[here],
            outputs=whole.outputs[here],
            classes=whole.classes and whole.classes[here],
        )
