import numpy as np
import pandas as pd
import pytest

from tidegate.config import load_config
from tidegate.data.draft import draft_config
from tidegate.data.ingest import ingest
from tidegate.errors import BadInput


def posts(rows=300):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "comment_id": np.arange(rows) * 7 % 1009,
            "body": [f"some words in post {row} {rng.integers(999)}" for row in range(rows)],
            "body_raw": [f"Some Words in POST {row}" for row in range(rows)],
            "label": np.where(label, "toxic", "not toxic"),
            "votes": label * 3,
            "created_at": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "targets": [["a", "b"][: row % 3] for row in range(rows)],
            "likes": rng.normal(size=rows),
        }
    )


def _drafted(table, folder):
    table.to_parquet(folder / "My Posts.parquet")
    text = draft_config(str(folder / "My Posts.parquet"), folder=folder)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return text, load_config(folder / "config.yaml")


def test_the_draft_names_every_role_and_runs(tmp_path):
    text, config = _drafted(posts(), tmp_path)
    data = config.data
    assert config.name == "my-posts"
    assert "source: My Posts.parquet" in text
    assert (data.id, data.text, data.label) == ("comment_id", ("body",), "label")
    assert data.violating == ("toxic",)
    assert (data.time, data.split.by) == ("created_at", "time")
    assert data.groups == ("targets",)
    assert set(data.ignore) == {"body_raw", "votes"}
    snapshot = ingest(data, name=config.name, source_digest="", out=tmp_path / "snapshot")
    assert [column.name for column in snapshot.columns] == ["body", "likes"]


def test_every_data_line_says_why(tmp_path):
    text, _ = _drafted(posts(), tmp_path)
    lines = text.splitlines()
    assert all("#" in line or line.endswith(":") for line in lines if line.strip())


def test_a_published_split_is_preferred(tmp_path):
    parts = ["train"] * 200 + ["dev"] * 50 + ["test"] * 50
    _, config = _drafted(posts().assign(fold=parts), tmp_path)
    assert config.data.split.column == "fold"


def test_a_split_column_that_lacks_a_class_is_passed_over(tmp_path):
    table = posts().sort_values("label").assign(fold=["train"] * 200 + ["dev"] * 50 + ["test"] * 50)
    _, config = _drafted(table, tmp_path)
    assert config.data.split.by == "time"
    assert "fold" in config.data.ignore


def test_conversations_are_kept_together_where_there_is_no_time(tmp_path):
    table = posts().drop(columns="created_at").assign(conv_id=np.arange(300) // 5)
    _, config = _drafted(table, tmp_path)
    assert (config.data.split.by, config.data.split.group) == ("group", "conv_id")


def test_a_zero_one_label_is_preferred_to_its_names(tmp_path):
    table = posts().assign(y_toxic=lambda t: (t["label"] == "toxic").astype("int8"))
    _, config = _drafted(table, tmp_path)
    assert (config.data.label, config.data.violating) == ("y_toxic", None)
    assert "label" in config.data.ignore


def test_an_unclear_violating_class_is_left_to_choose(tmp_path):
    table = posts().assign(label=["alpha", "beta", "beta"] * 100)
    text, config = _drafted(table, tmp_path)
    assert config.data.violating == ("alpha",)
    assert "# choose: which label values count as 1?" in text


def test_without_a_label_the_draft_asks_and_loading_says_what_is_missing(tmp_path):
    table = posts()[["comment_id", "body", "likes"]]
    with pytest.raises(BadInput, match="required key 'label' is missing"):
        _drafted(table, tmp_path)
    assert "# label: NAME  # choose one of" in (tmp_path / "config.yaml").read_text()


def test_awkward_names_survive_the_yaml(tmp_path):
    names = {"body": "body: # 'text'\nyes", "label": "label: on", "likes": "no", "targets": "[x]"}
    table = posts().rename(columns=names)
    table["label: on"] = np.where(table["label: on"] == "toxic", "yes", "no")
    _, config = _drafted(table, tmp_path)
    assert config.data.text == ("body: # 'text'\nyes",)
    assert config.data.label == "label: on"
    assert config.data.violating == ("yes",)


def test_an_unreadable_table_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        draft_config(str(tmp_path / "none.csv"))
