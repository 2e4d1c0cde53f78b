"""The real labelled sets: counts only, never a row."""

from pathlib import Path

import pytest

from tidegate.config import DataConfig, load_config
from tidegate.data.draft import draft_config
from tidegate.data.ingest import build_snapshot, read_source

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the real sets are not at {FOLDER}"),
]


def _snapshot(name, **changes):
    data = DataConfig.model_validate({"source": str(FOLDER / f"{name}.parquet"), **changes})
    return build_snapshot(read_source(data.source), data, name=name, source_digest="")[0]


def _counts(snapshot):
    return {split: summary.rows for split, summary in snapshot.splits.items()}


def test_edos_has_its_published_split():
    snapshot = _snapshot(
        "edos", id="rewire_id", text="text", label="y_sexist", split="split", columns=[]
    )
    assert _counts(snapshot) == {"train": 14_000, "validation": 2_000, "holdout": 4_000}
    assert snapshot.splits["train"].prevalence == pytest.approx(0.243, abs=0.001)


def test_edos_label_columns_are_noticed_as_leaks():
    snapshot = _snapshot("edos", id="rewire_id", text="text", label="y_sexist", split="split")
    leaks = {n.split("'")[1] for n in snapshot.notices if "data.ignore" in n}
    assert leaks == {"label_sexist", "label_category", "label_vector"}


def test_hatexplain_leaves_out_its_undecided_rows():
    snapshot = _snapshot(
        "hatexplain",
        text="text",
        label="y_toxic",
        split="split",
        groups="targets_major",
        columns=[],
    )
    assert _counts(snapshot) == {"train": 15_383, "validation": 1_922, "holdout": 1_924}


def test_spamassassin_by_time_shows_its_prior_shift():
    snapshot = _snapshot(
        "spamassassin",
        id="id",
        text=["subject", "body"],
        label="y",
        time="received_at",
        split={"by": "time", "deduplicate": False},
        columns=[],
    )
    assert sum(_counts(snapshot).values()) == 6_046 - 141
    shares = [summary.prevalence for summary in snapshot.splits.values()]
    assert shares[0] > 0.38
    assert shares[2] < 0.06
    ends = [summary.time_end for summary in snapshot.splits.values()]
    assert ends == sorted(ends)


@pytest.mark.parametrize("name", ["edos", "hatexplain", "convabuse", "spamassassin"])
def test_a_drafted_configuration_runs_without_suspect_columns(name, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(draft_config(str(FOLDER / f"{name}.parquet")), encoding="utf-8")
    data = load_config(path).data
    snapshot, _ = build_snapshot(read_source(data.source), data, name=name, source_digest="")
    assert [column.kind for column in snapshot.columns].count("text") >= 1
    assert not [notice for notice in snapshot.notices if "data.ignore" in notice]
