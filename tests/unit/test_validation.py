import dataclasses
import re
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from tidegate import store
from tidegate.config import DataConfig, ValidationConfig
from tidegate.data.expectations import gate_message, plan_expectations
from tidegate.data.ingest import build_snapshot, ingest, read_split
from tidegate.data.validation import validate
from tidegate.errors import BadInput
from tidegate.records import Expectation, ValidationReport

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Import the library once where the warnings of its own dependencies do no harm."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("GX_ANALYTICS_ENABLED", "false")
        warnings.simplefilter("ignore")
        import great_expectations  # noqa: F401


def posts(rows=300, start="2024-01-01"):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "text": [f"privatecell {row} {rng.integers(10**9)}" for row in range(rows)],
            "y": (np.arange(rows) % 4 == 0).astype(int),
            "created": pd.date_range(start, periods=rows, freq="h"),
            "likes": rng.normal(size=rows),
            "country": rng.choice(["de", "fr"], rows),
            "target": [["a", "b"][: row % 3] for row in range(rows)],
        }
    )


DATA = {
    "source": "-",
    "text": "text",
    "label": "y",
    "time": "created",
    "groups": ["target"],
    "split": {"by": "time"},
}


def _settings(**changes):
    return DataConfig.model_validate({**DATA, **changes})


def _ingested(table, folder, **changes):
    folder.mkdir(parents=True)
    table.to_parquet(folder / "table.parquet")
    data = _settings(source=str(folder / "table.parquet"), **changes)
    ingest(data, name="posts", source_digest="", out=folder / "run")
    return folder / "run", data


def _check(table, folder, *, config=None, **changes):
    run, data = _ingested(table, folder, **changes)
    return validate(run, config=config or ValidationConfig(), data=data, out=folder / "validation")


def _failed(report, severity):
    return [(e.split, e.name, e.column) for e in report.failures if e.severity == severity]


def test_sound_data_pass_and_leave_a_record_and_data_docs(tmp_path):
    report = _check(posts(), tmp_path / "a")
    assert report.passed
    assert gate_message(report) is None
    assert _failed(report, "critical") == _failed(report, "warning") == []
    assert {e.split for e in report.expectations} == {"train", "validation", "holdout"}
    written = tmp_path / "a" / "validation"
    assert store.read_record(written / "validation.json", ValidationReport) == report
    assert (written / "docs" / "index.html").exists()
    pages = list((written / "docs" / "validations").rglob("*.html"))
    assert len(pages) == 3


def test_no_cell_reaches_the_record_or_the_data_docs(tmp_path):
    table = posts()
    table["text"] += " spilled" * 40
    config = ValidationConfig(max_text_length=20, max_duplicate_share=0.0)
    report = _check(table, tmp_path / "a", config=config)
    assert ("train", "expect_column_value_lengths_to_be_between", "text") in _failed(
        report, "critical"
    )
    files = [path for path in (tmp_path / "a" / "validation").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert b"privatecell" not in path.read_bytes()
    assert "privatecell" not in str(gate_message(report))


def test_a_shut_gate_names_expectation_column_and_count(tmp_path):
    table = posts()
    table.loc[table.index[:40], "text"] = ""
    report = _check(table, tmp_path / "a")
    assert not report.passed
    message = gate_message(report)
    assert message is not None
    assert "\n" not in message
    assert message.startswith(
        "expect_column_values_to_not_match_regex failed on column 'text' of train: "
    )
    assert "40 unexpected rows" in message


def test_rows_from_the_future_shut_the_gate(tmp_path):
    report = _check(posts(start="2200-01-01"), tmp_path / "a")
    assert ("holdout", "expect_column_values_to_be_between", "created") in _failed(
        report, "critical"
    )


def test_a_prior_shift_warns_and_an_explicit_range_refuses(tmp_path):
    table = posts()
    table.loc[255:, "y"] = (np.arange(45) % 15 == 0).astype(int)
    table.loc[:100, "y"] = (np.arange(101) % 3 > 0).astype(int)
    warned = _check(table, tmp_path / "a")
    assert warned.passed
    assert ("holdout", "expect_column_mean_to_be_between", "y") in _failed(warned, "warning")
    config = ValidationConfig(prevalence_range=(0.2, 0.6))
    refused = _check(table, tmp_path / "b", config=config)
    assert ("holdout", "expect_column_mean_to_be_between", "y") in _failed(refused, "critical")
    assert "a violating share of 0.2 to 0.6" in str(gate_message(refused))


def test_a_reference_run_is_the_norm(tmp_path):
    reference, _ = _ingested(posts(), tmp_path / "reference")
    for path in reference.glob("*.parquet"):
        path.unlink()  # The record alone is enough for a norm.
    moved = posts()
    moved["text"] = moved["text"] + " and much longer than it used to be" * 3
    moved["country"] = moved["country"].replace("fr", "nl")
    moved["likes"] += 100
    moved["target"] = [["a", "new"]] * len(moved)
    config = ValidationConfig(reference=str(reference))
    report = _check(moved, tmp_path / "a", config=config)
    warned = set(_failed(report, "warning"))
    assert report.passed
    assert {
        ("train", "expect_column_mean_to_be_between", "text (characters)"),
        ("train", "expect_column_values_to_be_in_set", "country"),
        ("train", "expect_column_values_to_be_between", "likes"),
        ("train", "expect_column_values_to_be_in_set", "target"),
    } <= warned


def test_groups_that_only_evaluation_rows_name_are_not_called_unseen(tmp_path):
    table = posts()
    table["target"] = [None if row < 210 else ["a", "b"] for row in range(300)]
    report = _check(table, tmp_path / "a")
    assert _failed(report, "warning") == []
    named = posts()
    named["target"] = [["a"] if row < 210 else ["b"] for row in range(300)]
    warned = _failed(_check(named, tmp_path / "b"), "warning")
    assert ("holdout", "expect_column_values_to_be_in_set", "target") in warned


def test_a_column_that_vanished_or_changed_its_kind_shuts_the_gate(tmp_path):
    reference, _ = _ingested(posts(), tmp_path / "reference")
    config = ValidationConfig(reference=str(reference))
    gone = posts().drop(columns="likes").assign(country=np.arange(300) % 7)
    report = _check(gone, tmp_path / "a", config=config)
    failed = _failed(report, "critical")
    assert ("train", "expect_column_to_exist", "likes") in failed
    assert ("train", "expect_column_values_to_be_of_type", "country") in failed


def test_a_column_of_the_reference_that_is_now_ignored_is_not_missed():
    reference, _ = build_snapshot(posts(), _settings(), name="posts", source_digest="")
    for changes in ({"ignore": ["likes"]}, {"columns": ["country"]}):
        data = _settings(**changes)
        snapshot, _ = build_snapshot(posts(), data, name="posts", source_digest="")
        planned = plan_expectations(
            snapshot, "train", reference=reference, config=ValidationConfig(), data=data, now=NOW
        )
        assert "likes" not in {plan.column for plan in planned}


def test_an_unseen_label_name_warns(tmp_path):
    classes = posts().assign(y=lambda t: t["y"].map({0: "fine", 1: "hate"}))
    reference, _ = _ingested(classes, tmp_path / "reference", violating=["hate"])
    classes.loc[5, "y"] = "new class"
    config = ValidationConfig(reference=str(reference))
    report = _check(classes, tmp_path / "a", config=config, violating=["hate"])
    last = report.expectations[-1]
    assert (last.column, last.passed, last.severity, last.unexpected_count) == (
        "y",
        False,
        "warning",
        1,
    )


def test_a_missing_reference_is_bad_input_and_writes_nothing(tmp_path):
    config = ValidationConfig(reference=str(tmp_path / "none"))
    with pytest.raises(BadInput, match="no such snapshot"):
        _check(posts(), tmp_path / "a", config=config)
    assert not (tmp_path / "a" / "validation").exists()


def test_damaged_tables_shut_the_gate(tmp_path):
    run, data = _ingested(posts(), tmp_path / "a")
    train = read_split(run, "train")
    train.loc[3, "_id"] = train.loc[4, "_id"]
    train.loc[7, "_label"] = 2
    store.write_table(run / "train.parquet", train)
    report = validate(run, config=ValidationConfig(), data=data, out=tmp_path / "v")
    assert _failed(report, "critical") == [
        ("train", "expect_column_values_to_be_unique", "row number"),
        ("train", "expect_column_values_to_be_in_set", "y"),
    ]
    assert "(and 1 more)" in str(gate_message(report))


def test_too_few_rows_and_missing_numbers_are_told(tmp_path):
    table = posts()
    table.loc[table.index[-40:], "likes"] = np.nan
    report = _check(table, tmp_path / "a", config=ValidationConfig(min_rows=100))
    assert ("holdout", "expect_table_row_count_to_be_between", None) in _failed(report, "critical")
    assert ("holdout", "expect_column_values_to_not_be_null", "likes") in _failed(report, "warning")


def test_columns_that_are_mostly_or_wholly_missing_do_not_stop_the_check(tmp_path):
    table = posts()
    table["likes"] = table["likes"].where(table.index < 5)
    table["country"] = table["country"].where(table.index < 40)
    report = _check(table, tmp_path / "a")
    assert report.passed
    assert "not computable" not in {e.observed for e in report.expectations}


def test_several_texts_are_judged_together(tmp_path):
    table = posts().assign(subject="")
    table.loc[::2, "subject"] = [f"title {row}" for row in range(150)]
    run, data = _ingested(table, tmp_path / "a", text=["subject", "text"])
    report = validate(run, config=ValidationConfig(), data=data, out=tmp_path / "v")
    assert report.passed
    assert "subject + text" in {e.column for e in report.expectations}


def test_the_plan_is_made_without_great_expectations():
    data = _settings()
    snapshot, _ = build_snapshot(posts(), data, name="posts", source_digest="")
    plans = {
        split: plan_expectations(
            snapshot, split, reference=None, config=ValidationConfig(), data=data, now=NOW
        )
        for split in ("train", "holdout")
    }
    warned = {
        split: [plan for plan in plan if plan.severity == "warning"]
        for split, plan in plans.items()
    }
    # Training is its own norm: only the check of very old times is left.
    assert [plan.column for plan in warned["train"]] == ["_time"]
    assert len(warned["holdout"]) > 5
    edge = [p for p in plans["holdout"] if "where the part before ends" in p.expected]
    assert edge[0].arguments["min_value"].isoformat() == snapshot.splits["validation"].time_end
    assert all(dataclasses.is_dataclass(plan) for plan in plans["train"])


def test_the_gate_message_leads_with_a_critical_failure():
    def failure(severity, column):
        return Expectation(
            split="train",
            name="expect_x",
            column=column,
            severity=severity,
            passed=False,
            unexpected_count=3,
            observed="4",
            expected="at most 2",
        )

    report = ValidationReport(
        passed=False, expectations=(failure("warning", "a"), failure("critical", "b\nc"))
    )
    message = gate_message(report)
    assert message is not None
    assert re.fullmatch(
        r"expect_x failed on column .* of train: "
        r"expected at most 2, 3 unexpected rows, observed 4",
        message,
    )
