"""Four ways to keep a moderation model through a year."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from year_model import Archive, Floats, Learnt

from tidegate.config import MonitorConfig, PolicyConfig, TriggerConfig
from tidegate.errors import Conflict
from tidegate.evaluation.next_window import next_window_threshold
from tidegate.evaluation.sequential import difference_above, is_shown, share_above
from tidegate.evaluation.threshold import empirical_threshold
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.trigger import ended, pull, settled
from tidegate.records import COMPONENT_PREFIX, SCORE, RemedyRequest, Signal, TriggerState

Flags = npt.NDArray[np.bool_]

NEVER = float("inf")
RECENT_WEEKS, ROWS, _EVIDENCE_WEEKS = 8, 18_000, 10
#: The loop reads older labels too, and trusts them half as much after so many weeks.
_MEMORY_WEEKS, _HALF_LIFE_WEEKS = 20, 8.0
_LATEST_DAYS = 3.0
_DRIFT_ROWS = 1000


@dataclass
class Tally:
    """What a policy spent."""

    refreshes: int = 0
    full_retrains: int = 0
    threshold_updates: int = 0
    pages: int = 0

    @property
    def retrains(self) -> int:
        return self.refreshes + self.full_retrains


class Policy(Protocol):
    """Decides by a model and a threshold, and may change both when a week is over."""

    learnt: Learnt
    threshold: float
    tally: Tally
    archive: Archive

    def flags(self, posts: pd.DataFrame, scores: Floats) -> Flags: ...

    def after(self, week: int, posts: pd.DataFrame, matrix: Any, scores: Floats) -> None: ...


class Scheduled:
    """Retrains every so many weeks, with the lowest threshold whose sample reaches the floor."""

    def __init__(
        self, archive: Archive, policy: PolicyConfig, week: int, every: int | None
    ) -> None:
        self.archive, self.policy, self.every, self.tally = archive, policy, every, Tally()
        self.learnt = archive.first
        self._rederive(week)

    def flags(self, posts: pd.DataFrame, scores: Floats) -> Flags:
        return np.asarray(scores >= self.threshold)

    def after(self, week: int, posts: pd.DataFrame, matrix: Any, scores: Floats) -> None:
        if self.every is not None and (week - self.learnt.week) >= self.every:
            self._retrain(week)
            self.tally.refreshes += 1

    def _retrain(self, week: int) -> None:
        settings = self.archive.first.settings
        self.learnt = self.archive.learn(week, settings, recent_weeks=RECENT_WEEKS, rows=ROWS)
        self._rederive(week)

    def _rederive(self, week: int) -> None:
        rows = self.archive.evidence(self.learnt, range(week - _EVIDENCE_WEEKS + 1, week + 1))
        found = empirical_threshold(
            rows["score"], rows["label"], min_precision=self.policy.min_precision
        )
        self.threshold = NEVER if found is None else found


class InMemory:
    """Keeps a trigger's state."""

    def __init__(self) -> None:
        self.state: TriggerState | None = None
        self.revision = 0

    def read(self) -> tuple[TriggerState | None, str | None]:
        return self.state, None if self.state is None else str(self.revision)

    def write(self, state: TriggerState, *, revision: str | None) -> None:
        if revision != self.read()[1]:
            raise Conflict("changed")
        self.state, self.revision = state, self.revision + 1


class Loop:
    """Tidegate's: guaranteed thresholds kept fresh, drift told apart, retrains that are earned."""

    def __init__(
        self,
        archive: Archive,
        policy: PolicyConfig,
        week: int,
        clock: Callable[[int], datetime],
        new_labels: int,
        seed: int,
    ) -> None:
        self.archive, self.policy, self.tally, self.clock = archive, policy, Tally(), clock
        self.monitor = MonitorConfig(
            engine="open", window_days=7.0, scales=(1,), max_rows=500, seed=seed
        )
        # No retrain follows another within a fortnight. In a simulation there is nobody to page,
        # so that retrains in vain go on.
        self.trigger = TriggerConfig(
            new_labels=new_labels, cooldown_hours=13 * 24.0, page_after=1000
        )
        self.store, self.journal = InMemory(), list[str]()
        self.settings, self.threshold = archive.first.settings, NEVER
        self._reference: pd.DataFrame | None = None
        self.learnt, self.labels_learnt = archive.first, len(archive.labelled)
        self._read(week)

    def flags(self, posts: pd.DataFrame, scores: Floats) -> Flags:
        """Decide day by day, with a threshold renewed from the scores of the days before."""
        day = posts["created_at"].dt.floor("D").to_numpy()
        flagged = np.zeros(len(posts), dtype=np.bool_)
        score, label = (self._rows[name].to_numpy(np.float64) for name in ("score", "label"))
        known = self.archive.latest_scores(self.learnt, 1)[0]
        enough = round(len(known) * _LATEST_DAYS / 7)
        for today in np.unique(day):
            before = np.concatenate([known, scores[day < today]])
            found = next_window_threshold(
                (score, label, self._trust),
                before[-enough:],
                upcoming=len(known),
                min_precision=self.policy.min_precision,
                confidence=self.policy.confidence,
            )
            self.threshold = found.threshold
            self.tally.threshold_updates += 1
            flagged[day == today] = scores[day == today] >= self.threshold
        return flagged

    def after(self, week: int, posts: pd.DataFrame, matrix: Any, scores: Floats) -> None:
        """Look at the week, ask the trigger, and do what it says."""
        watched = self._watched(posts, scores)
        if self._reference is None:
            self._reference = watched
        signals = self._signals(week, watched, scores)
        if self.store.state is not None:
            seen = {signal.cause for signal in signals}
            absent = [c for c in self.store.state.in_a_row if c not in seen]
            self.store.state = settled(self.store.state, absent)

        def act(request: RemedyRequest) -> None:
            self.journal.append(f"week {week}: {request.says}")
            if request.remedy == "page":
                self.tally.pages += 1
                return
            trained = request.remedy in ("light_refresh", "full_retrain")
            if trained:
                full = request.remedy == "full_retrain"
                self.learnt = self._learnt(week, full=full)
                self.tally.full_retrains += full
                self.tally.refreshes += not full
                fresh = ~posts["post_id"].isin(self.archive.labelled["post_id"]).to_numpy()
                chosen = np.flatnonzero(fresh)
                rescored = self.learnt.score(matrix[chosen])
                self._reference = self._watched(posts.iloc[chosen], rescored)
            assert self.store.state is not None
            self.store.state = ended(self.store.state, request.name, replaced_model=trained)

        pull(self.store, "year", signals, self.clock(week), self.trigger, act)
        self._read(week)

    def _signals(self, week: int, watched: pd.DataFrame, scores: Floats) -> list[Signal]:
        self._read(week)
        found: list[Signal] = []

        def notice(cause: Any, says: str) -> None:
            found.append(Signal(model="year", window=f"week-{week}", cause=cause, says=says))

        self._labelled(self._rows, notice)
        report = detect_drift(
            self._reference,
            watched,
            engine=OpenTests(self.monitor.seed),
            level=check_level(self.monitor),
            config=self.monitor,
            bundle_version="year",
        )
        if report.drifted:
            moved = ", ".join(test.name for test in report.tests if test.drifted)
            notice("covariate_shift", f"moved by {moved}")
        fresh = len(self.archive.labelled) - self.labels_learnt
        if self.trigger.new_labels is not None and fresh >= self.trigger.new_labels:
            notice("new_labels", f"{fresh} labels since the last training")
        return found

    def _labelled(self, rows: pd.DataFrame, notice: Callable[[str, str], None]) -> None:
        """Hold the labels since the release against those that it was judged by."""
        new = rows[rows["week"] > self.learnt.week]
        flagged = new["score"] >= self.threshold
        wrong = int((new["label"][flagged] == 0).sum())
        limit = 1 - self.policy.min_precision
        error = 1 - self.policy.confidence
        if is_shown(share_above(wrong, int(flagged.sum()), limit), error):
            notice("concept_drift", f"{wrong} of {int(flagged.sum())} flagged rows were harmless")
        old = rows[(rows["week"] <= self.learnt.week) & (rows["label"] == 1)]
        late = new[new["label"] == 1]
        missed = [int((side["score"] < self.threshold).sum()) for side in (late, old)]
        log_evidence = difference_above(missed[0], len(late), missed[1], len(old), 0.05)
        if is_shown(log_evidence, error):
            notice("concept_drift", f"{missed[0]} of {len(late)} violating rows were missed")

    def _learnt(self, week: int, *, full: bool) -> Learnt:
        self.labels_learnt = len(self.archive.labelled)
        if full:
            learnt = self.archive.search(week, recent_weeks=RECENT_WEEKS, rows=ROWS)
            self.settings = learnt.settings
            return learnt
        return self.archive.learn(week, self.settings, recent_weeks=RECENT_WEEKS, rows=ROWS)

    def _read(self, week: int) -> None:
        """Take in the labels so far: how violating and harmless posts score."""
        weeks = range(week - _MEMORY_WEEKS + 1, week + 1)
        self._rows = self.archive.evidence(self.learnt, weeks)
        age = week - self._rows["week"].to_numpy(np.float64)
        self._trust = np.asarray(0.5 ** (age / _HALF_LIFE_WEEKS))

    def _watched(self, posts: pd.DataFrame, scores: Floats) -> pd.DataFrame:
        """Return what drift is looked for in, of an even sample of a week's posts."""
        assert self.archive.featurizer is not None
        chosen = np.unique(np.linspace(0, len(posts) - 1, _DRIFT_ROWS).astype(np.int64))
        projected = self.archive.featurizer.project(posts.iloc[chosen])
        names = [f"{COMPONENT_PREFIX}{i:02d}" for i in range(projected.shape[1])]
        frame = pd.DataFrame(projected.astype(np.float64), columns=names)
        frame[SCORE] = scores[chosen]
        return frame
