"""Shadow: logged requests are sent to both versions, and what they answer is put side by side."""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from tidegate import store
from tidegate.records import INPUT_PREFIX
from tidegate.rollout.evidence import Decisions
from tidegate.rollout.version_client import Answer, VersionClient


@dataclass(frozen=True)
class LoggedRow:
    """A row that was served: its id, what the model was given, and the groups it belongs to."""

    row_id: str
    inputs: dict[str, object]
    groups: dict[str, str | tuple[str, ...]] = field(default_factory=dict)


class LoggedRequests(Protocol):
    """Where rows to replay come from."""

    def rows(self, since: datetime, until: datetime, most: int) -> Sequence[LoggedRow]:
        """Return at most so many rows of a window, chosen without regard to what they hold."""


@dataclass(frozen=True)
class Replayed:
    """What both versions answered, and what the candidate's answers say of it."""

    decisions: Decisions
    candidate_answers: tuple[Answer, ...]
    baseline_answers: tuple[Answer, ...]


def replay(
    rows: Iterable[LoggedRow],
    candidate: VersionClient,
    baseline: VersionClient,
    *,
    rows_per_second: float,
    deadline_seconds: float,
    review_band: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Replayed:
    """Send rows to both versions, no faster than so; stop at the deadline with what there is.

    Parameters
    ----------
    review_band : bool
        Whether a version sends rows to people beside those it flags.
    """
    began = clock()
    asked: list[LoggedRow] = []
    mine: list[Answer] = []
    theirs: list[Answer] = []
    for sent, row in enumerate(rows):
        ahead = began + sent / rows_per_second - clock()
        if ahead > 0:
            sleep(ahead)
        if clock() - began >= deadline_seconds:
            break
        # Whoever is asked second finds caches warm: they take turns.
        pairs = [(candidate, mine), (baseline, theirs)]
        for client, answers in pairs if sent % 2 else reversed(pairs):
            answers.append(client.answer(row.row_id, row.inputs))
        asked.append(row)
    columns = dict.fromkeys(name for row in asked for name in row.groups)
    return Replayed(
        decisions=Decisions(
            candidate_score=np.array([a.score for a in mine], dtype=float),
            baseline_score=np.array([a.score for a in theirs], dtype=float),
            candidate_decision=[a.decision for a in mine],
            baseline_decision=[a.decision for a in theirs],
            candidate_failed=np.array([a.failed or a.lacks_score for a in mine], dtype=bool),
            baseline_failed=np.array([a.failed or a.lacks_score for a in theirs], dtype=bool),
            groups={name: [row.groups.get(name, ()) for row in asked] for name in columns},
            review_band=review_band,
        ),
        candidate_answers=tuple(mine),
        baseline_answers=tuple(theirs),
    )


class PayloadLogRows:
    """Rows of the payload log.

    Parameters
    ----------
    uri : str
        The log's folder.
    group_columns : sequence of str
        Inputs whose values are groups; the segment and the path of a row are groups anyway.
    lag_seconds : float
        How long a row may take into the log: windows end so much before the present.
    """

    def __init__(self, uri: str, group_columns: Sequence[str], *, lag_seconds: float) -> None:
        self._uri = uri
        self._group_columns = tuple(group_columns)
        self._lag = timedelta(seconds=lag_seconds)

    def rows(self, since: datetime, until: datetime, most: int) -> Sequence[LoggedRow]:
        """Return rows of the window, shifted by the lag, those with the least digests of ids."""
        from tidegate.serving.log_reader import read_log

        frame, _ = read_log(self._uri, since - self._lag, until - self._lag)
        digests = frame["event_id"].astype(str).map(lambda text: store.digest_bytes(text.encode()))
        frame = frame.loc[digests.sort_values().index[:most]]
        records: list[dict[str, Any]] = frame.to_dict("records")
        return [self._row(record) for record in records]

    def _row(self, record: dict[str, Any]) -> LoggedRow:
        inputs = {
            name.removeprefix(INPUT_PREFIX): _plain(value)
            for name, value in record.items()
            if name.startswith(INPUT_PREFIX)
        }
        groups = groups_of({**inputs}, self._group_columns)
        for name in ("segment", "path"):
            if _plain(record.get(name)) is not None:
                groups[name] = str(record[name])
        return LoggedRow(str(record["event_id"]), inputs, groups)


class CopiedRows:
    """Rows of V1 requests that were copied on their way, as the proxy on this machine keeps them.

    Parameters
    ----------
    bodies_after : callable
        From a number of requests to the numbers and bodies of those that came after it.
    group_columns : sequence of str
        Inputs whose values are groups.
    """

    def __init__(
        self,
        bodies_after: Callable[[int], Sequence[tuple[int, bytes]]],
        group_columns: Sequence[str] = (),
    ) -> None:
        self._bodies_after = bodies_after
        self._group_columns = tuple(group_columns)
        self._next = 0

    def rows(self, since: datetime, until: datetime, most: int) -> Sequence[LoggedRow]:
        """Return rows of requests that came since the last call; times do not matter."""
        found: list[LoggedRow] = []
        for number, body in self._bodies_after(self._next):
            self._next = number + 1
            try:
                instances = json.loads(body)["instances"]
                rows = [dict(one) for one in instances]
            except (ValueError, KeyError, TypeError):
                continue
            found += [
                LoggedRow(f"{number}.{place}", row, groups_of(row, self._group_columns))
                for place, row in enumerate(rows)
            ]
        found.sort(key=lambda row: store.digest_bytes(row.row_id.encode()))
        return found[:most]


def groups_of(
    inputs: dict[str, object], columns: Sequence[str]
) -> dict[str, str | tuple[str, ...]]:
    """Return a row's values of the group columns; a list is several groups."""
    found: dict[str, str | tuple[str, ...]] = {}
    for column in columns:
        value = inputs.get(column)
        if isinstance(value, list | tuple):
            found[column] = tuple(str(one) for one in value)
        elif value is not None:
            found[column] = str(value)
    return found


def _plain(value: Any) -> Any:
    """Return a cell of a frame as JSON can say it; a missing one is None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value
