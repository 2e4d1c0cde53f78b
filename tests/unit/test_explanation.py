"""Why a row scores what it scores."""

import numpy as np
import pandas as pd
import pytest

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.bundle import load_bundle, write_bundle
from tidegate.models.catalogue import algorithm
from tidegate.models.explanation import explain, with_explanations
from tidegate.models.interface import Setting
from tidegate.models.scoring import score_source
from tidegate.records import Column

COLUMNS = (
    Column(name="body", kind="text"),
    Column(name="age", kind="numeric"),
    Column(name="country", kind="categorical"),
)


def posts(rows=240, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.4).astype(np.int8)
    words = rng.choice(["river", "garden", "window", "market"], (rows, 4))
    body = [
        " ".join([*row, "rotten" if label else "lovely"])
        for row, label in zip(words, y, strict=True)
    ]
    frame = pd.DataFrame({"body": body, "age": rng.normal(size=rows), "country": "de"})
    return frame, y


@pytest.fixture(scope="module", params=["logistic", "xgboost", "knn"])
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    frame, y = posts()
    settings = FeatureConfig(embedding="none", statistics=False)
    featurizer = Featurizer.fit(frame, COLUMNS, y, settings)
    featurizer.save(folder / "featurizer")
    found = algorithm(request.param)
    model = found.build(found.defaults, Setting())
    model.fit(featurizer.transform(frame), y, np.ones(len(y)))
    write_bundle(
        folder / "bundle",
        name="posts",
        algorithm=request.param,
        params=found.defaults,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=COLUMNS,
        snapshot_digest="",
    )
    return load_bundle(folder / "bundle")


def test_the_word_that_decides_is_named_with_its_sign(bundle):
    frame = posts(seed=1)[0].head(8)
    for (_, row), found in zip(frame.iterrows(), explain(bundle, frame, top=40), strict=True):
        told = [c for c in found.contributions if any(w in c.feature for w in ("rotten", "lovely"))]
        assert told, "the word that labels go by is not among the contributions"
        present = [c for c in told if c.feature.rsplit(":", 1)[-1] in row["body"].split()]
        for contribution in present[:1]:
            assert (contribution.effect > 0) == ("rotten" in row["body"])


def test_contributions_come_largest_first_and_no_more_than_asked_for(bundle):
    found = explain(bundle, posts(seed=2)[0].head(4), top=3)
    for explanation in found:
        sizes = [abs(c.effect) for c in explanation.contributions]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) <= 3


def test_exact_contributions_add_up_to_the_log_odds(bundle):
    frame = posts(seed=3)[0].head(6)
    score = bundle.score(frame)
    log_odds = np.log(score / (1 - score))
    found = explain(bundle, frame, top=100_000)
    if found[0].method == "occlusion":
        pytest.skip("leaving words out does not add up")
    sums = [sum(c.effect for c in explanation.contributions) for explanation in found]
    # What is left is the intercept, the same for every row.
    assert np.ptp(log_odds - sums) < 1e-3


def test_a_table_gets_a_column_and_keeps_its_rows(bundle, tmp_path):
    frame = posts(seed=4)[0].head(3)
    scored = with_explanations(score_source(bundle, frame), bundle, frame, top=2)
    scored.to_parquet(tmp_path / "out.parquet")
    again = pd.read_parquet(tmp_path / "out.parquet")
    assert len(again) == 3
    assert set(again["explained_by"]) <= {"linear", "tree", "occlusion"}
    assert set(again["explanation"].iloc[0][0]) == {"feature", "effect"}
    assert explain(bundle, frame.head(0)) == []


def test_missing_cells_can_be_explained(bundle):
    frame = pd.DataFrame({"body": ["", "rotten"], "age": [None, 1.0], "country": [None, None]})
    assert len(explain(bundle, frame)) == 2
