"""What every policy of the simulated year has: labels as they arrive, a model, fair evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.config import FeatureConfig
from tidegate.data.retrain_data import mix
from tidegate.data.simulate import Week, training_labels
from tidegate.features.featurizer import Featurizer
from tidegate.models.linear import LogisticModel
from tidegate.records import Column

Floats = npt.NDArray[np.float64]

_FAMILIES = "words"
_FEATURES = FeatureConfig(
    embedding="none",
    terms="hashed",
    hashed_bits=16,
    max_inner_features=0,
    statistics=False,
    projection_components=8,
)
_COLUMNS = (
    Column(name="text", kind="text"),
    Column(name="place", kind="categorical"),
    Column(name="account_age_days", kind="numeric"),
)
_TRUST = {"audit": 1.0, "investigator": 1.0, "appeal": 0.9}
_STRATA = ("label", "language", "quarter")
_FOLDS = 3
#: How many of the hashed terms a model reads: those that tell the classes apart.
_TERMS = 5000
# Of an author without labels: how many violating and harmless ones are assumed.
_ASSUMED = (0.3, 1.5)
_RECORD_SCALE = 0.35
_RECORDS = ("account_id", "address")


class _Matrix:
    """Rows whose features were computed already, as a model asks for them."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    @property
    def rows(self) -> int:
        return int(self._matrix.shape[0])

    def csr(self, families: str) -> Any:
        return self._matrix


@dataclass(frozen=True)
class Settings:
    """What may be chosen in a search: how strongly to penalise, and how much to remember."""

    C: float = 16.0
    memory_share: float = 0.75


@dataclass(frozen=True)
class Learnt:
    """Models of all rows and of its folds, and what is said of a row by one that never saw it."""

    models: tuple[LogisticModel, ...]
    unseen_scores: pd.Series
    settings: Settings
    week: int
    quality: float

    def score(self, matrix: Any) -> Floats:
        return _mean_scores(self.models, matrix)


@dataclass
class Archive:
    """Everything that a platform's moderators know: posts' features and the labels so far.

    Features are hashed, so that a post's are the same for every model and computed once. Beside
    the words stand the records of the author and of the sign-up address: log-odds of the labels
    that had arrived by the beginning of the week.
    """

    addresses: npt.NDArray[np.object_]
    featurizer: Featurizer | None = None
    first: Learnt | None = None
    fits: int = 0
    labelled: pd.DataFrame = field(default_factory=pd.DataFrame)
    matrix: Any = None
    _recent: list[tuple[pd.DataFrame, Any]] = field(default_factory=list)

    def features(self, posts: pd.DataFrame) -> Any:
        """Return the features of posts of the week that begins now, CSR."""
        from scipy import sparse

        if self.featurizer is None:
            y = np.arange(len(posts), dtype=np.int8) % 2  # hashing and projection ask no labels
            self.featurizer = Featurizer.fit(posts, _COLUMNS, y, _FEATURES)
        words = self.featurizer.transform(posts).csr(_FAMILIES)
        who = self._who(posts)
        records = np.column_stack([_record(self.labelled, who, name) for name in _RECORDS])
        return sparse.hstack([words, sparse.csr_matrix(records)]).tocsr()

    def _who(self, posts: pd.DataFrame) -> pd.DataFrame:
        address = self.addresses[posts["account_id"].to_numpy()]
        return posts[["post_id", "account_id", "language"]].assign(address=address)

    def add(self, week: Week, matrix: Any) -> None:
        """Take in a week's labels, of its own posts and of earlier ones."""
        from scipy import sparse

        known = self._who(week.posts).assign(week=week.number, quarter=week.number // 13)
        self._recent = [*self._recent[-9:], (known, matrix)]
        told = training_labels(week)
        for posts, features in self._recent:
            rows = posts.reset_index(drop=True).reset_index(names="place_in_week")
            found = rows.merge(told, on="post_id", validate="1:1")
            if len(self.labelled):
                found = found[~found["post_id"].isin(self.labelled["post_id"])]
            if not len(found):
                continue
            X = features[found["place_in_week"].to_numpy()]
            self.matrix = X if self.matrix is None else sparse.vstack([self.matrix, X]).tocsr()
            kept = found.drop(columns=["place_in_week"])
            self.labelled = pd.concat([self.labelled, kept], ignore_index=True)

    def learn(self, week: int, settings: Settings, *, recent_weeks: int, rows: int) -> Learnt:
        """Fit on the recent window and the memory of the past, cross-fitted."""
        from sklearn.metrics import average_precision_score

        table = self.labelled.assign(at=np.arange(len(self.labelled)))
        is_recent = table["week"] > week - recent_weeks
        chosen = mix(
            table[is_recent],
            table[~is_recent],
            memory_share=settings.memory_share,
            strata=_STRATA,
            rows=rows,
            seed=week,
        )
        X, y = self.matrix[chosen["at"].to_numpy()], chosen["label"].to_numpy().astype(np.int8)
        weight = chosen["label_source"].map(_TRUST).to_numpy(np.float64)
        # By fortnights: a campaign posts the same few scripts for days.
        fold = (chosen["week"].to_numpy() // 2) % _FOLDS
        unseen, models = np.empty(len(y)), [self._fit(X, y, weight, settings)]
        for held in range(_FOLDS):
            inside = fold != held
            models.append(self._fit(X[inside], y[inside], weight[inside], settings))
            unseen[~inside] = _mean_scores(models[-1:], X[~inside])
        fair = ((chosen["label_source"] == "audit") & (chosen["week"] > week - 4)).to_numpy()
        quality = float(average_precision_score(y[fair], unseen[fair])) if y[fair].any() else 0.0
        return Learnt(
            models=tuple(models),
            unseen_scores=pd.Series(unseen, index=chosen["post_id"].to_numpy()),
            settings=settings,
            week=week,
            quality=quality,
        )

    def search(self, week: int, *, recent_weeks: int, rows: int) -> Learnt:
        """Fit every setting and keep the one that ranks recent audited rows best."""
        tried: Sequence[Settings] = [
            Settings(C=C, memory_share=share) for C in (8.0, 30.0) for share in (0.5, 0.75)
        ]
        found = [self.learn(week, s, recent_weeks=recent_weeks, rows=rows) for s in tried]
        return max(found, key=lambda learnt: learnt.quality)

    def evidence(self, learnt: Learnt, weeks: range) -> pd.DataFrame:
        """Return audited rows of some weeks with scores of models that did not learn from them.

        Columns: ``week``, ``score``, ``label``. The rows were drawn at random, so that they are
        like those that are moderated.
        """
        table = self.labelled
        chosen = np.flatnonzero(
            (table["label_source"] == "audit")
            & (table["week"] >= weeks.start)
            & (table["week"] < weeks.stop)
        )
        rows = table.iloc[chosen]
        unseen = learnt.unseen_scores.reindex(rows["post_id"].to_numpy()).to_numpy()
        scores = np.where(np.isnan(unseen), learnt.score(self.matrix[chosen]), unseen)
        return pd.DataFrame(
            {
                "week": rows["week"].to_numpy(),
                "score": scores,
                "label": rows["label"].to_numpy().astype(np.int8),
            }
        )

    def latest_scores(self, learnt: Learnt, weeks: int) -> list[Floats]:
        """Return a model's scores of all posts of the latest weeks, a week an array."""
        return [learnt.score(matrix) for _, matrix in self._recent[-weeks:]]

    def _fit(self, X: Any, y: Any, weight: Floats, settings: Settings) -> LogisticModel:
        self.fits += 1
        model = LogisticModel(settings.C, False, _FAMILIES, columns=_TERMS)
        return model.fit(_Matrix(X), y, weight)  # type: ignore[arg-type]


def _mean_scores(models: Sequence[LogisticModel], matrix: Any) -> Floats:
    """Return the probabilities of mean log-odds; of several, half is the first one's."""
    odds = [np.log(p / (1 - p)) for p in (_scores(m, matrix) for m in models)]
    rest = np.mean(odds[1:], axis=0) if len(odds) > 1 else odds[0]
    return np.asarray(1 / (1 + np.exp(-(odds[0] + rest) / 2)))


def _scores(model: LogisticModel, matrix: Any) -> Floats:
    found = np.asarray(model.predict_proba(_Matrix(matrix))[:, 1])  # type: ignore[arg-type]
    return np.clip(found, 1e-12, 1 - 1e-12)


def _record(labelled: pd.DataFrame, who: pd.DataFrame, name: str) -> Floats:
    """Return the record of each author or address, 0 for one without labels."""
    violating, harmless = _ASSUMED
    if not len(labelled):
        return np.zeros(len(who))
    known = labelled.groupby(name)["label"].agg(["sum", "count"])
    found = known.reindex(who[name].to_numpy()).fillna(0.0)
    right = found["sum"].to_numpy(np.float64)
    odds = (right + violating) / (found["count"].to_numpy(np.float64) - right + harmless)
    return np.asarray(_RECORD_SCALE * np.log(odds * harmless / violating))
