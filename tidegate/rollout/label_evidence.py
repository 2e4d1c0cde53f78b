"""What labels say of both versions: golden rows sent to them, and labels of rows they served."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from tidegate.config import RolloutConfig
from tidegate.records import ReleaseState
from tidegate.rollout.evidence import Appeals, GoldenRows, LabelledRows, QualityEvidence
from tidegate.rollout.replay import LoggedRow, groups_of, replay
from tidegate.rollout.version_client import VersionClient

#: Labels that came within a window: a frame with ``row_id``, ``label`` (1 violating, 0 not) and
#: ``kind`` (``review`` or ``appeal``).
Labels = Callable[[datetime, datetime], Any]
#: Rows that were served within a window, with the payload log's columns.
ServedRows = Callable[[datetime, datetime], Any]


class LiveQuality:
    """Golden rows at every step, and labels as they arrive.

    Parameters
    ----------
    config : RolloutConfig
    client : callable
        From a version to a client of it; None while it is not served.
    golden : sequence of (LoggedRow, bool)
        Labelled rows; True is violating.
    labels, served : callable, optional
        Labels of a window, and the served rows of a window; both or none.
    max_weight : float
        One over the least probability with which a row's action is drawn; 1 without exploration.
    """

    def __init__(
        self,
        config: RolloutConfig,
        client: Callable[[str], VersionClient | None],
        *,
        golden: Sequence[tuple[LoggedRow, bool]] = (),
        labels: Labels | None = None,
        served: ServedRows | None = None,
        max_weight: float = 1.0,
        deadline_seconds: float = 10.0,
    ) -> None:
        self._config, self._client = config, client
        self._golden, self._labels, self._served = tuple(golden), labels, served
        self._max_weight, self._deadline_seconds = max_weight, deadline_seconds
        self._asked: dict[tuple[str, int], GoldenRows] = {}

    def quality(self, state: ReleaseState, now: datetime) -> QualityEvidence:
        """Return the golden rows as this step decides them, and labels since the last analysis."""
        golden = self._golden_rows(state)
        if self._labels is None or self._served is None:
            return QualityEvidence(golden=golden)
        began = datetime.fromisoformat(state.began_at)
        since = began if state.analysed_at is None else datetime.fromisoformat(state.analysed_at)
        if since >= now or began >= now:
            return QualityEvidence(golden=golden)
        found = join_labels(
            self._served(began, now),
            self._labels(since, now),
            state,
            group_columns=self._config.group_columns,
            max_weight=self._max_weight,
        )
        return replace(found, golden=golden)

    def _golden_rows(self, state: ReleaseState) -> GoldenRows | None:
        """Ask once a step: the same rows again would say the same."""
        key = (state.candidate, state.step)
        if not self._golden:
            return None
        if key not in self._asked:
            candidate, baseline = self._client(state.candidate), self._client(state.baseline)
            if candidate is None or baseline is None:
                return None
            found = replay(
                [row for row, _ in self._golden],
                candidate,
                baseline,
                rows_per_second=self._config.quality.replay_rows_per_second,
                deadline_seconds=self._deadline_seconds,
            ).decisions
            answered = ~found.candidate_failed & ~found.baseline_failed
            label = np.array([violating for _, violating in self._golden[: answered.size]], bool)
            mine, theirs = (
                np.array([decision == "flagged" for decision in decisions], bool)
                for decisions in (found.candidate_decision, found.baseline_decision)
            )
            self._asked = {key: GoldenRows(label[answered], mine[answered], theirs[answered])}
            candidate.close()
            baseline.close()
        return self._asked[key]


def join_labels(
    served: Any,
    labels: Any,
    state: ReleaseState,
    *,
    group_columns: Sequence[str] = (),
    max_weight: float = 1.0,
) -> QualityEvidence:
    """Put labels to the rows that the two versions served, by their ids.

    Reviews say how often what a version flags is violating. Appeals are made by those who were
    flagged, so they are counted apart: posts that were won back, of all that were flagged.

    Parameters
    ----------
    served : DataFrame
        Columns of the payload log, inputs included where they are groups.
    labels : DataFrame
        ``row_id``, ``label`` and, optionally, ``kind``.
    max_weight : float
        A row whose action had a lower probability than one over this counts as if it had that.
    """
    import pandas as pd

    ours = served[served["model_version"].isin([state.candidate, state.baseline])]
    ours = ours[ours["row_id"].notna()].drop_duplicates("row_id", keep="last")
    known = labels.drop_duplicates(["row_id"], keep="last")
    kind = known.get("kind", "review")
    joined = ours.merge(known.assign(kind=kind), on="row_id", suffixes=("", "_label"))
    flagged = joined[(joined["decision"] == "flagged") & joined["label"].notna()]
    reviews, appeals = flagged[flagged["kind"] != "appeal"], flagged[flagged["kind"] == "appeal"]
    upheld = appeals[appeals["label"].astype(float) == 0]["model_version"].value_counts()
    newly = ours[ours["decision"] == "flagged"]
    if state.analysed_at is not None:
        newly = newly[newly["time"] > pd.Timestamp(state.analysed_at)]
    count = newly["model_version"].value_counts()
    chance = reviews["action_probability"].astype(float).fillna(1.0).to_numpy()
    columns = [name for name in group_columns if f"input_{name}" in reviews]
    groups = [
        groups_of({name: row[f"input_{name}"] for name in columns}, columns)
        for row in reviews.to_dict("records")
    ]
    return QualityEvidence(
        labels=LabelledRows(
            by_candidate=(reviews["model_version"] == state.candidate).to_numpy(bool),
            flagged=np.ones(len(reviews), bool),
            label=reviews["label"].astype(float).to_numpy() > 0,
            weight=np.minimum(1 / np.maximum(chance, 1e-9), max_weight),
            groups={name: [one.get(name, ()) for one in groups] for name in columns},
            max_weight=max_weight,
        ),
        appeals=Appeals(
            candidate_flagged=int(count.get(state.candidate, 0)),
            candidate_upheld=int(upheld.get(state.candidate, 0)),
            baseline_flagged=int(count.get(state.baseline, 0)),
            baseline_upheld=int(upheld.get(state.baseline, 0)),
        ),
    )
