"""Rows without labels: read beside the splits, featurized, and never judged on."""

import pandas as pd
import pytest

from tidegate import store
from tidegate.config import DataConfig, FeatureConfig
from tidegate.data.ingest import ingest
from tidegate.errors import BadInput
from tidegate.features.matrices import featurize, load_features
from tidegate.records import SPLITS

FEATURES = FeatureConfig(embedding="none", min_rows_with_term=1)


def ingested(folder, make_posts, unlabelled, name="snapshot", **changes):
    make_posts(200).to_parquet(folder / "posts.parquet")
    told = {"source": str(folder / "posts.parquet"), "text": "body", "label": "violating"}
    if unlabelled is not None:
        unlabelled.to_parquet(folder / "more.parquet")
        told["unlabelled"] = str(folder / "more.parquet")
    config = DataConfig.model_validate({**told, "ignore": ["post", "created_at"], **changes})
    return ingest(config, name="posts", source_digest="", out=folder / name)


def texts(folder, split):
    return store.read_table(folder / "snapshot" / f"{split}.parquet")["body"].tolist()


def fresh(make_posts, rows=40):
    return make_posts(rows, seed=7).drop(columns=["violating", "dialect"])


def with_dialect(table):
    return table.assign(dialect="north")


def test_a_text_of_a_labelled_row_or_of_an_earlier_one_does_not_come_in(tmp_path, make_posts):
    new = with_dialect(fresh(make_posts))
    known = with_dialect(make_posts(200).drop(columns=["violating"]))
    shouted = new.assign(body=new["body"].str.upper() + "  ")
    snapshot = ingested(tmp_path, make_posts, pd.concat([known, new, shouted]))
    kept = texts(tmp_path, "unlabelled")
    assert kept == new["body"].tolist()
    assert snapshot.unlabelled_rows == len(new)
    assert snapshot.notices[-1] == (
        "40 unlabelled rows; dropped 240 whose text stands in another row"
    )
    assert not set(kept) & {text for split in SPLITS for text in texts(tmp_path, split)}


def test_golden_texts_do_not_come_in_either(tmp_path, make_posts):
    golden = with_dialect(make_posts(60, seed=9)).assign(body=lambda t: "golden " + t["body"])
    golden.to_parquet(tmp_path / "golden.parquet")
    place = str(tmp_path / "golden.parquet")
    snapshot = ingested(tmp_path, make_posts, golden.drop(columns=["violating"]), golden_set=place)
    assert snapshot.unlabelled_rows == 0
    features = featurize(tmp_path / "snapshot", FEATURES, tmp_path / "features")
    assert features.feature_count
    assert not (tmp_path / "features" / "unlabelled").exists()


def test_the_labelled_rows_are_what_they_are_without_them(tmp_path, make_posts):
    more = with_dialect(fresh(make_posts))
    with_some = ingested(tmp_path, make_posts, more)
    tables = {split: texts(tmp_path, split) for split in SPLITS}
    without = ingested(tmp_path, make_posts, None)
    assert tables == {split: texts(tmp_path, split) for split in SPLITS}
    assert with_some.splits == without.splits
    assert with_some.digest != without.digest
    assert not (tmp_path / "snapshot" / "unlabelled.parquet").exists()


def test_their_features_are_in_the_training_rows_columns_and_without_a_label(tmp_path, make_posts):
    ingested(tmp_path, make_posts, with_dialect(fresh(make_posts)))
    featurize(tmp_path / "snapshot", FEATURES, tmp_path / "features")
    train, _ = load_features(tmp_path / "features", "train")
    X, roles = load_features(tmp_path / "features", "unlabelled")
    assert X.rows == 40
    assert X.csr("words").shape == (40, train.csr("words").shape[1])
    assert X.texts()["body"]
    assert list(roles) == ["_id"]


def test_a_table_without_a_feature_column_is_refused(tmp_path, make_posts):
    with pytest.raises(BadInput, match=r"data\.unlabelled: the table has no column 'dialect'"):
        ingested(tmp_path, make_posts, fresh(make_posts))
