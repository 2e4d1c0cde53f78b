"""From a snapshot to matrices and back."""

import json

import numpy as np
import pandas as pd
import pytest

from tidegate import store
from tidegate.config import FeatureConfig
from tidegate.errors import BadInput
from tidegate.features.blocks import TERMS
from tidegate.features.featurizer import Featurizer
from tidegate.features.matrices import featurize, load_features
from tidegate.records import (
    SPLITS,
    Column,
    DuplicateSummary,
    FeatureSet,
    Snapshot,
    SplitSummary,
)

EVERY = "words+chars+inner"
COLUMNS = (
    Column(name="body", kind="text"),
    Column(name="age / days", kind="numeric"),
    Column(name="country", kind="categorical"),
    Column(name="title", kind="text"),
)
CONFIG = FeatureConfig(
    min_category_rows=2, projection_components=4, embedding="none", statistics=False
)
WORDS = ["prize", "lunch", "free", "noon", "win", "code", "hello", "money"]


def rows(count, seed):
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "body": [" ".join(generator.choice(WORDS, size=6)) for _ in range(count)],
            "age / days": generator.exponential(30, size=count),
            "country": generator.choice(["de", "fr", "rare"], count, p=[0.6, 0.38, 0.02]),
            "title": generator.choice(["Re: hi", "offer", None], count),
            "_id": [f"{seed}-{number}" for number in range(count)],
            "_time": pd.Timestamp("2026-01-01", tz="UTC"),
            "_label": (generator.random(count) < 0.3).astype(np.int8),
            "_weight": 1.0,
            "_group_target": [["women"], []] * (count // 2),
        }
    )


def same(one, other):
    return (one.csr(TERMS) != other.csr(TERMS)).nnz == 0


def fit(frame, columns=COLUMNS, config=CONFIG):
    return Featurizer.fit(frame, columns, frame["_label"].to_numpy(), config)


def write_snapshot(folder, tables, columns=COLUMNS):
    summary = SplitSummary(rows=1, violating=1, prevalence=1.0)
    nothing = dict.fromkeys(DuplicateSummary.model_fields, 0)
    snapshot = Snapshot(
        name="comments",
        digest="abc",
        columns=columns,
        groups=("target",),
        splits=dict.fromkeys(SPLITS, summary),
        label_values={"0": 0, "1": 1},
        duplicates=DuplicateSummary.model_validate(nothing),
    )
    store.write_record(folder / "snapshot.json", snapshot)
    for split, table in tables.items():
        store.write_table(folder / f"{split}.parquet", table)
    return folder


@pytest.fixture(scope="module")
def train():
    return rows(120, seed=0)


@pytest.fixture(scope="module")
def featurizer(train):
    return fit(train)


def test_blocks_stand_in_the_order_of_columns_and_catalogue(featurizer, train):
    assert [block.name for block in featurizer.blocks] == [
        "body:tfidf_word",
        "body:tfidf_char",
        "body:tfidf_inner",
        "age / days:numeric",
        "country:categorical",
        "title:tfidf_word",
        "title:tfidf_char",
        "title:tfidf_inner",
    ]
    X = featurizer.transform(train).csr(EVERY)
    names = featurizer.feature_names()
    assert X.format == "csr"
    assert X.dtype == np.float32
    assert X.has_sorted_indices
    assert X.shape == (120, featurizer.feature_count)
    assert len(names) == len(set(names)) == featurizer.feature_count
    assert "country:categorical:=de" in names
    assert X[:, names.index("country:categorical:=de")].sum() == (train["country"] == "de").sum()


def test_only_training_rows_decide_what_a_feature_is(featurizer):
    other = rows(60, seed=1)
    other["body"] = "novelword"
    assert not any("novelword" in name for name in featurizer.feature_names())
    assert featurizer.transform(other).csr(EVERY).shape == (60, featurizer.feature_count)


def test_a_saved_featurizer_gives_the_same_features_names_and_projection(
    featurizer, train, tmp_path
):
    featurizer.save(tmp_path)
    restored = Featurizer.load(tmp_path)
    assert same(restored.transform(train), featurizer.transform(train))
    assert restored.feature_names() == featurizer.feature_names()
    assert restored.blocks == featurizer.blocks
    assert restored.columns == COLUMNS
    np.testing.assert_array_equal(restored.project(train), featurizer.project(train))


def test_saving_again_writes_the_same_bytes(featurizer, train, tmp_path):
    featurizer.save(tmp_path / "first")
    fit(train).save(tmp_path / "second")
    Featurizer.load(tmp_path / "first").save(tmp_path / "third")
    digests = {store.digest_tree(tmp_path / name) for name in ("first", "second", "third")}
    assert len(digests) == 1


def test_rows_as_plain_lists_give_the_features_of_the_frame(featurizer, train):
    plain = {column.name: train[column.name].tolist() for column in COLUMNS}
    assert same(featurizer.transform(plain), featurizer.transform(train))


def test_rows_keep_their_place_whatever_the_index_of_the_frame(train):
    shuffled = train.sample(frac=1, random_state=3)
    by_index = fit(shuffled).project(shuffled)
    by_position = fit(shuffled.reset_index(drop=True)).project(shuffled)
    np.testing.assert_array_equal(by_index, by_position)


def test_the_projection_is_read_only_when_asked_for(featurizer, train, tmp_path):
    featurizer.save(tmp_path)
    (tmp_path / "projection.npz").rename(tmp_path / "elsewhere.npz")
    restored = Featurizer.load(tmp_path)
    restored.transform(train)
    (tmp_path / "elsewhere.npz").rename(tmp_path / "projection.npz")
    projected = restored.project(train)
    assert projected.dtype == np.float32
    assert projected.shape == (120, 4)


def test_the_projection_keeps_the_directions_of_most_variation(featurizer, train):
    X = featurizer.transform(train).csr(TERMS)
    best = np.linalg.svd(X.toarray(), full_matrices=False)[1][:4]
    kept = np.linalg.norm(featurizer.project(train), axis=0)
    np.testing.assert_allclose(kept, best, rtol=1e-2)


@pytest.mark.parametrize("count", [1, 2])
def test_the_projection_has_no_more_components_than_rows(train, count):
    few = train.head(count)
    config = FeatureConfig(min_rows_with_term=1, embedding="none")
    assert fit(few, config=config).project(train).shape[1] <= count


def test_a_column_that_gives_nothing_leaves_the_others_alone(train):
    silent = train.assign(title="")
    featurizer = fit(silent)
    assert {block.name: block.width for block in featurizer.blocks}["title:tfidf_word"] == 0
    assert featurizer.transform(silent).csr(EVERY).shape[1] == featurizer.feature_count > 0


@pytest.mark.parametrize("body", ["", None, "!?", "each row its own word {}"])
def test_no_feature_at_all_is_bad_input(train, body):
    frame = train.assign(body=[body and body.format(f"x{n}y") for n in range(len(train))])
    config = FeatureConfig(min_rows_with_term=121)
    with pytest.raises(BadInput, match=r"body give no feature; .*min_rows_with_term=121"):
        fit(frame, COLUMNS[:1], config)


def test_a_missing_column_is_named(featurizer, train):
    with pytest.raises(BadInput, match="column 'country': is not in the table"):
        featurizer.transform(train.drop(columns="country"))


def test_a_folder_of_another_format_is_refused(featurizer, tmp_path):
    with pytest.raises(BadInput, match=r"featurizer\.json is missing"):
        Featurizer.load(tmp_path)
    featurizer.save(tmp_path)
    manifest = json.loads((tmp_path / "featurizer.json").read_text())
    (tmp_path / "featurizer.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(BadInput, match="format must be 3, got 1"):
        Featurizer.load(tmp_path)


def test_a_bundle_cleaned_by_other_rules_is_refused(featurizer, tmp_path):
    featurizer.save(tmp_path)
    manifest = json.loads((tmp_path / "featurizer.json").read_text())
    manifest["cleaning"]["version"] = 0
    (tmp_path / "featurizer.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="cleaning version must be 1, got 0"):
        Featurizer.load(tmp_path)


def test_terms_are_of_the_cleaned_text_and_statistics_of_the_text_as_it_came(train, tmp_path):
    config = CONFIG.model_copy(update={"statistics": True})
    shouted = train.assign(body=train["body"] + " soooooo")
    featurizer = fit(shouted, config=config)
    assert featurizer.cleaned_rows["body:repeats"] == len(train)
    assert featurizer.cleaned_rows["title:repeats"] == 0
    assert "body:tfidf_word:soo" in featurizer.feature_names()
    (block,) = (b for b in featurizer.blocks if b.name == "body:statistics")
    part = featurizer.transform(shouted.assign(body="so")).part(block)
    repeats = list(featurizer.feature_names()).index("body:statistics:repeats")
    assert part.shape == (len(train), block.width)
    assert featurizer.transform(shouted.head(1)).texts()["body"][0].endswith(" soo")
    assert repeats > 0
    featurizer.save(tmp_path)
    assert Featurizer.load(tmp_path).transform(shouted).texts()["body"][0].endswith(" soo")


def test_featurize_writes_a_matrix_and_the_roles_of_every_split(tmp_path, train, featurizer):
    tables = {"train": train, "validation": rows(40, seed=1), "holdout": rows(30, seed=2)}
    snapshot = write_snapshot(tmp_path / "snapshot", tables)
    features = featurize(snapshot, CONFIG, tmp_path / "features")
    assert store.read_record(tmp_path / "features" / "features.json", FeatureSet) == features
    assert features.snapshot_digest == "abc"
    assert features.blocks == featurizer.blocks
    for split in SPLITS:
        X, roles = load_features(tmp_path / "features", split)
        again = featurizer.transform(tables[split])
        assert same(again, X)
        assert again.texts() == X.texts()
        assert list(roles) == ["_id", "_time", "_label", "_weight", "_group_target"]
        assert roles["_id"].tolist() == tables[split]["_id"].tolist()
    restored = Featurizer.load(tmp_path / "features" / "featurizer")
    assert restored.feature_count == features.feature_count


def test_nothing_is_left_when_featurize_fails(tmp_path, train):
    empty = train.assign(body="", title=None)
    tables = dict.fromkeys(SPLITS, empty)
    snapshot = write_snapshot(tmp_path / "snapshot", tables, columns=COLUMNS[:1])
    with pytest.raises(BadInput):
        featurize(snapshot, CONFIG, tmp_path / "features")
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot"]
