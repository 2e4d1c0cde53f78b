import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import store
from tidegate.config import DataConfig
from tidegate.data.ingest import build_snapshot, ingest, load_snapshot, read_split
from tidegate.errors import BadInput
from tidegate.records import SPLITS


def posts(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"p{row}" for row in range(rows)],
            "text": [f"post number {row} says {rng.integers(1000)}" for row in range(rows)],
            "y": rng.integers(0, 2, rows),
            "created": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "likes": rng.normal(size=rows),
            "verified": rng.integers(0, 2, rows).astype(bool),
            "country": rng.choice(["de", "fr", None], rows),
            "thread": rng.integers(0, 40, rows).astype(float),
            "target": [["a", "b"][: row % 3] for row in range(rows)],
        }
    )


def config(**changes):
    base = {"source": "-", "id": "id", "text": "text", "label": "y"}
    return DataConfig.model_validate({**base, **changes})


def build(table, **changes):
    return build_snapshot(table, config(**changes), name="posts", source_digest="")


def test_the_snapshot_on_disk_is_what_was_built(tmp_path):
    posts().to_parquet(tmp_path / "posts.parquet")
    settings = config(source=str(tmp_path / "posts.parquet"), time="created", groups=["target"])
    snapshot = ingest(settings, name="posts", source_digest="abc", out=tmp_path / "snapshot")
    assert load_snapshot(tmp_path / "snapshot") == snapshot
    assert snapshot.source_digest == "abc"
    tables = [read_split(tmp_path / "snapshot", split) for split in SPLITS]
    assert [len(table) for table in tables] == [snapshot.splits[s].rows for s in SPLITS]
    train = tables[0]
    assert train["_id"].iloc[0].startswith("p")
    assert train["_label"].dtype == np.int8
    assert train["_weight"].dtype == np.float64
    assert str(train["_time"].dtype) == "datetime64[us, UTC]"
    assert {len(groups) for groups in train["_group_target"]} == {0, 1, 2}


def test_a_failed_ingest_leaves_nothing_behind(tmp_path):
    posts().assign(y=0).to_parquet(tmp_path / "posts.parquet")
    with pytest.raises(BadInput):
        ingest(
            config(source=str(tmp_path / "posts.parquet")),
            name="posts",
            source_digest="",
            out=tmp_path / "snapshot",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["posts.parquet"]


def test_the_digest_is_of_the_content_not_of_the_file_or_its_folder(tmp_path):
    table = posts().drop(columns=["target", "created"])
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "b.csv", index=False)
    digests = set()
    for name in ("a.parquet", "b.csv"):
        settings = config(source=str(tmp_path / name))
        out = tmp_path / "out" / name
        digests.add(ingest(settings, name="x", source_digest=name, out=out).digest)
    assert len(digests) == 1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 199), st.sampled_from(["id", "text", "y", "created", "likes", "country"]))
def test_any_changed_cell_changes_the_digest(row, column):
    table, changed = posts(), posts()
    value = changed.loc[row, column]
    other = {
        "id": "other",
        "text": "other",
        "y": 1 - int(changed.loc[row, "y"]),
        "created": changed["created"].max() + pd.Timedelta("1h"),
        "likes": changed.loc[row, "likes"] + 1e-9,
        "country": "de" if value != "de" else "fr",
    }
    changed.loc[row, column] = other[column]
    before, _ = build(table, time="created")
    after, _ = build(changed, time="created")
    assert before.digest != after.digest
    assert before.digest == build(table, time="created")[0].digest


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(
        [
            {"by": "random"},
            {"by": "time"},
            {"by": "group", "group": "thread"},
            {"by": "random", "seed": 3},
        ]
    ),
    st.integers(0, 5),
)
def test_the_splits_partition_the_rows(rule, seed):
    table = posts(seed=seed)
    snapshot, tables = build(table, time="created", split={**rule, "deduplicate": False})
    ids = [set(frame["_id"]) for frame in tables.values()]
    assert set.union(*ids) == set(table["id"])
    assert sum(map(len, ids)) == len(table)
    for split, frame in tables.items():
        assert snapshot.splits[split].violating == frame["_label"].sum()


def test_a_group_stays_in_one_part():
    table = posts()
    _, tables = build(table, split={"by": "group", "group": "thread"})
    thread = table.set_index("id")["thread"]
    seen = [set(thread[frame["_id"]]) for frame in tables.values()]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert not seen[0] & seen[2]


def test_columns_are_found_by_type_and_the_others_are_explained():
    table = posts().assign(
        row=range(200), token=[f"t{n}" for n in range(200)], fixed="x", nested=[{"a": 1}] * 200
    )
    snapshot, tables = build(table, time="created", groups=["target"], ignore=["likes"])
    kinds = {column.name: column.kind for column in snapshot.columns}
    assert kinds == {
        "text": "text",
        "verified": "numeric",
        "country": "categorical",
        "thread": "numeric",
    }
    told = "\n".join(snapshot.notices)
    for name, reason in {
        "row": "counts the rows",
        "token": "looks like an identifier",
        "fixed": "one value only",
        "nested": "nested",
    }.items():
        assert f"column '{name}'" in told
        assert reason in told
    assert tables["train"]["country"].isna().any()


def test_roles_are_no_features_and_groups_only_when_asked():
    table = posts().assign(
        source=["report", "appeal"] * 100, part=["train"] * 100 + ["dev"] * 50 + ["test"] * 50
    )
    roles = {"time": "created", "label_source": "source", "split": "part", "columns": "auto"}
    without, _ = build(table, groups=["country", "target"], **roles)
    with_groups, _ = build(table, groups=["country"], use_groups_as_features=True, **roles)
    assert [c.name for c in without.columns] == ["text", "likes", "verified", "thread"]
    assert "country" in [c.name for c in with_groups.columns]


def test_named_columns_are_the_only_ones():
    snapshot, _ = build(posts(), columns=["likes"])
    assert [column.name for column in snapshot.columns] == ["text", "likes"]


def test_a_role_cannot_be_a_feature_too():
    with pytest.raises(BadInput, match=r"data.columns: column 'y' is also data.label"):
        _checked(posts(), columns=["y"])
    with pytest.raises(BadInput, match=r"a name that Tidegate uses itself"):
        _checked(posts().rename(columns={"text": "_label"}), text="_label")


def _checked(table, **changes):
    from tidegate.data.columns import check_columns

    check_columns(list(table.columns), config(**changes))
    return build(table, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "txet"}, "data.text: the table has no column 'txet'; did you mean 'text'?"),
        ({"label": "why"}, "data.label: the table has no column 'why'"),
        ({"id": "ids"}, "did you mean 'id'?"),
        ({"time": "craeted"}, "did you mean 'created'?"),
        ({"groups": ["county"]}, "did you mean 'country'?"),
        ({"split": "splitt"}, "data.split: the table has no column 'splitt'"),
        ({"columns": ["like"]}, "data.columns: the table has no column 'like'"),
        ({"split": {"by": "group", "group": "threat"}}, "did you mean 'thread'?"),
        ({"text": ["text", "text"]}, "data.text: column 'text' is named twice"),
        ({"label_source": "zzz"}, "the columns are: id, text, y"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest_known_one(changes, message):
    with pytest.raises(BadInput) as caught:
        _checked(posts(), **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "changes", "message"),
    [
        ({"y": 1}, {}, "one class only: every row is violating"),
        ({"y": 0}, {}, "one class only: every row is not violating"),
        ({"y": None}, {}, "column 'y' is empty"),
        ({"y": ["a", "b"] * 100}, {}, "has the values 'a', 'b', which are not 0/1"),
        ({"text": " "}, {}, "every text in text is empty"),
        ({"text": None}, {}, "every text in text is empty"),
        ({"text": 3}, {}, "column 'text' does not hold text"),
        ({"id": ["p1"] * 3 + [f"q{n}" for n in range(197)]}, {}, "2 rows repeat an id"),
        ({"id": [None] + [f"q{n}" for n in range(199)]}, {}, "1 rows have no value"),
        ({"created": ["soon"] * 200}, {"time": "created"}, "200 of 200 values"),
        ({"created": None}, {"time": "created", "split": {"by": "time"}}, "'created' is empty"),
        ({"part": "train"}, {"split": "part"}, "the validation part has no rows"),
        ({"part": "first"}, {"split": "part"}, "no row of column 'part' says train"),
        (
            {"y": [1] * 100 + [0] * 100},
            {"time": "created", "split": {"by": "time"}},
            "the validation part has no violating rows",
        ),
    ],
)
def test_a_table_that_cannot_become_a_snapshot_is_refused(change, changes, message):
    with pytest.raises(BadInput) as caught:
        build(posts().assign(**change), **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dropped_rows_are_counted():
    table = posts().assign(part=["train", "val", "test", "spare"] * 50)
    table["y"] = table["y"].astype(object)
    table.loc[[3, 8], "y"] = None
    snapshot, _ = build(table, split="part")
    assert sum(split.rows for split in snapshot.splits.values()) == 149
    assert "dropped 2 rows without a label" in snapshot.notices
    assert (
        "dropped 49 rows whose 'part' says neither train, validation nor test" in snapshot.notices
    )


def test_rows_without_a_time_leave_a_split_by_time():
    table = posts()
    table.loc[:9, "created"] = pd.NaT
    snapshot, _ = build(table, time="created", split={"by": "time"})
    assert sum(split.rows for split in snapshot.splits.values()) == 190
    assert snapshot.notices[0].startswith("dropped 10 rows without a time in 'created'")


def test_without_an_id_rows_are_numbered():
    _, tables = build(posts(), id=None)
    assert {int(name) for frame in tables.values() for name in frame["_id"]} == set(range(200))


def test_copies_of_training_texts_leave_our_own_splits_only():
    table = posts().assign(part=["train"] * 150 + ["val"] * 25 + ["test"] * 25)
    table.loc[150, "text"] = table.loc[0, "text"].upper()
    published, _ = build(table, split="part")
    asked, _ = build(table, split={"column": "part", "deduplicate": True})
    assert published.duplicates.exact_train_validation == 1
    assert published.splits["validation"].rows == 25
    assert asked.splits["validation"].rows == 24


def test_missing_texts_become_empty_and_are_counted():
    table = posts()
    table.loc[[1, 2], "text"] = [None, "  "]
    snapshot, tables = build(table)
    assert "2 rows have an empty text" in snapshot.notices
    assert all(frame["text"].notna().all() for frame in tables.values())


def test_a_feature_made_from_the_label_is_noticed():
    table = posts()
    rng = np.random.default_rng(1)
    table["severity"] = table["y"] * 2 + rng.random(200)
    table["verdict"] = np.where(table["y"] == 1, "remove", "keep")
    table["removed_by_hand"] = np.where((table["y"] == 1) & (table["likes"] > -1), 1, 0)
    snapshot, _ = build(table)
    leaks = [notice for notice in snapshot.notices if "data.ignore" in notice]
    assert [notice.split("'")[1] for notice in leaks] == ["severity", "verdict", "removed_by_hand"]


def test_honest_features_are_not_called_leaks():
    table = posts(rows=400)
    table["hint"] = np.where(np.random.default_rng(2).random(400) < 0.8, table["y"], 1 - table["y"])
    table["rare"] = [f"shop{row // 3}" for row in range(400)]
    snapshot, _ = build(table)
    assert not [notice for notice in snapshot.notices if "data.ignore" in notice]


def test_notices_hold_no_cell_of_the_table():
    table = posts().assign(secret=[f"hidden{n}" for n in range(200)])
    table["verdict"] = np.where(table["y"] == 1, "hidden1", "hidden0")
    snapshot, _ = build(table)
    assert snapshot.notices
    assert "hidden" not in " ".join(snapshot.notices)


def test_a_profile_describes_training():
    snapshot, tables = build(posts(), groups=["target"])
    train = tables["train"]
    assert snapshot.profiles["text"].mean == pytest.approx(train["text"].str.len().mean())
    assert snapshot.profiles["likes"].maximum == train["likes"].max()
    assert snapshot.profiles["country"].null_share == train["country"].isna().mean()
    assert set(snapshot.profiles["country"].categories) == {"de", "fr"}
    assert set(snapshot.profiles["_group_target"].categories) == {"a", "b"}


def test_infinite_numbers_count_as_missing():
    table = posts()
    table.loc[:20, "likes"] = np.inf
    _, tables = build(table)
    assert not np.isinf(np.concatenate([f["likes"].to_numpy() for f in tables.values()])).any()


def test_a_reader_of_a_missing_or_foreign_snapshot_is_told(tmp_path):
    with pytest.raises(BadInput, match="no such snapshot"):
        load_snapshot(tmp_path)
    store.write_json(tmp_path / "snapshot.json", {"name": "x"})
    with pytest.raises(BadInput, match="not a snapshot of this version"):
        load_snapshot(tmp_path)


def ingested_with(tmp_path, golden, **changes):
    posts().to_parquet(tmp_path / "posts.parquet")
    golden.to_parquet(tmp_path / "golden.parquet")
    sources = {name: str(tmp_path / f"{name}.parquet") for name in ("posts", "golden")}
    settings = config(source=sources["posts"], golden_set=sources["golden"], **changes)
    return ingest(settings, name="posts", source_digest="", out=tmp_path / "snapshot")


def test_the_golden_set_lies_beside_the_splits_in_their_layout(tmp_path):
    golden = posts(60, seed=9).assign(text=lambda t: "golden " + t["text"])
    snapshot = ingested_with(tmp_path, golden.drop(columns=["target"]), groups=["target"])
    kept = store.read_table(tmp_path / "snapshot" / "golden.parquet")
    assert kept["_label"].tolist() == golden["y"].tolist()
    assert {column.name for column in snapshot.columns} <= set(kept.columns)
    assert not any("golden_set" in notice for notice in snapshot.notices)


def test_golden_rows_that_training_holds_are_counted(tmp_path):
    snapshot = ingested_with(tmp_path, posts(60))
    assert any("of 60 rows of data.golden_set" in notice for notice in snapshot.notices)


def test_the_snapshot_digest_is_not_of_the_golden_set(tmp_path):
    with_one = ingested_with(tmp_path, posts(60, seed=9))
    without = config(source=str(tmp_path / "posts.parquet"))
    again = ingest(without, name="posts", source_digest="", out=tmp_path / "again")
    assert with_one.digest == again.digest


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        (lambda: posts(40).drop(columns=["text"]), "data.golden_set: the table has no column"),
        (lambda: posts(40).assign(y=1), "data.golden_set: .* has one class only"),
    ],
)
def test_a_golden_set_that_cannot_be_scored_is_refused(tmp_path, golden, words):
    with pytest.raises(BadInput, match=words):
        ingested_with(tmp_path, golden())


def test_a_history_that_is_no_feature_column_is_refused(tmp_path, make_posts):
    make_posts(200).to_parquet(tmp_path / "posts.parquet")
    told = {"source": str(tmp_path / "posts.parquet"), "text": "body", "label": "violating"}
    for name in ("body", "nothing", "post"):
        config = DataConfig.model_validate({**told, "id": "post", "history": name})
        with pytest.raises(BadInput, match=rf"data\.history: '{name}' is no numeric or categ"):
            ingest(config, name="x", source_digest="", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
