"""Sentences whose right answer is beyond doubt: read, scored elsewhere, counted by template."""

from zlib import crc32

import pandas as pd
import pytest

from tidegate.config import DataConfig
from tidegate.data.functional_suite import BUILTIN, as_rows, read_suites
from tidegate.data.ingest import ingest
from tidegate.errors import BadInput
from tidegate.evaluation.functional import functional_report
from tidegate.evaluation.intervals import wilson
from tidegate.records import Column


def hatecheck(tmp_path, **changes):
    table = pd.DataFrame(
        {
            "functionality": ["neutral", "neutral", "plain", "plain", "object"],
            "case_templ": [
                "[ID] are here.",
                "[ID] are here.",
                "Away with [ID].",
                "Away with [ID].",
                "x",
            ],
            "test_case": ["A are here.", "B are here.", "Away with A.", "Away with B.", "x"],
            "label_gold": ["non-hateful", "non-hateful", "hateful", "hateful", "non-hateful"],
            "target_ident": ["A", "B", "A", "B", None],
        }
    ).assign(**changes)
    table.to_csv(tmp_path / "suite.csv", index=False)
    return str(tmp_path / "suite.csv")


def test_our_own_suite_covers_what_it_says():
    suite = read_suites([BUILTIN])
    assert suite["_case"].is_unique
    assert {
        "negated_hostility",
        "quoted_hostility",
        "reclaimed_terms",
        "identity_neutral",
        "hostility_obfuscated",
        "hostility_misspelt",
    } <= set(suite["_functionality"])
    assert not suite["text"].str.contains("[{}]").any()
    assert suite.groupby("_functionality")["_expected"].nunique().max() == 1
    named = suite[suite["_identity"] != ""]
    assert named.groupby("_template")["_identity"].nunique().min() >= 10


def test_a_suite_in_hatechecks_columns_is_read(tmp_path):
    suite = read_suites([hatecheck(tmp_path)])
    assert suite["_expected"].tolist() == [0, 0, 1, 1, 0]
    assert suite["_identity"].tolist() == ["A", "B", "A", "B", ""]
    assert suite["_template"].nunique() == 3


def test_an_unknown_label_is_refused_without_its_sentence(tmp_path):
    path = hatecheck(tmp_path, label_gold="perhaps")
    with pytest.raises(BadInput, match="row 1: label_gold must be hateful or non-hateful") as told:
        read_suites([path])
    assert "A are here" not in str(told.value)


def test_a_missing_column_is_named(tmp_path):
    pd.DataFrame({"functionality": ["x"], "test_case": ["y"]}).to_csv(tmp_path / "s.csv")
    with pytest.raises(BadInput, match="no column 'case_templ'"):
        read_suites([str(tmp_path / "s.csv")])


def test_the_sentence_stands_in_the_first_text_column_and_all_else_is_empty(tmp_path):
    columns = (
        Column(name="body", kind="text"),
        Column(name="title", kind="text"),
        Column(name="likes", kind="numeric"),
    )
    rows = as_rows(read_suites([hatecheck(tmp_path)]), columns)
    assert rows["body"].iloc[0] == "A are here."
    assert set(rows["title"]) == {""}
    assert rows["likes"].isna().all()
    with pytest.raises(BadInput, match="have no text"):
        as_rows(read_suites([BUILTIN]), columns[2:])


def test_pass_rates_count_templates_and_swaps_count_flips(tmp_path):
    suite = read_suites([hatecheck(tmp_path)]).assign(score=[0.1, 0.8, 0.9, 0.7, 0.2])
    report = functional_report(suite, 0.5, confidence=0.95)
    rates = {f.functionality: f.pass_rate for f in report.functionalities}
    assert rates == {"neutral": 0.5, "plain": 1.0, "object": 1.0}
    assert (report.cases, report.passed) == (5, 4)
    assert report.functionalities[0].pass_rate_ci == wilson(0.5, 1, 0.95)
    assert (report.swapped_templates, report.flipped_templates, report.flip_rate) == (2, 1, 0.5)
    shifts = {i.identity: i.score_shift for i in report.identities}
    assert shifts["A"] == pytest.approx((-0.35 + 0.1) / 2)
    assert shifts["A"] == pytest.approx(-shifts["B"])


def test_without_a_threshold_nothing_passes_or_fails():
    suite = read_suites([BUILTIN]).assign(score=0.5)
    assert functional_report(suite, None, confidence=0.95) is None


def test_a_model_that_ignores_identities_flips_nothing():
    suite = read_suites([BUILTIN])
    scores = suite["_template"].map(lambda t: (crc32(t.encode()) % 100) / 100)
    report = functional_report(suite.assign(score=scores), 0.5, confidence=0.95)
    assert report.flip_rate == 0
    assert report.mean_score_range == 0


def test_ingest_lays_the_cases_beside_the_splits(tmp_path):
    posts = pd.DataFrame(
        {"text": [f"post {i}" for i in range(90)], "y": [i % 2 for i in range(90)]}
    )
    posts.to_parquet(tmp_path / "posts.parquet")
    config = DataConfig.model_validate(
        {
            "source": str(tmp_path / "posts.parquet"),
            "text": "text",
            "label": "y",
            "functional_tests": "builtin",
        }
    )
    ingest(config, name="posts", source_digest="", out=tmp_path / "snapshot")
    rows = pd.read_parquet(tmp_path / "snapshot" / "functional.parquet")
    assert {"_case", "_functionality", "_template", "_identity", "_expected", "text"} == set(rows)


def test_sentences_need_a_text_column():
    with pytest.raises(ValueError, match=r"data\.text is not set"):
        DataConfig.model_validate({"source": "-", "label": "y", "functional_tests": "builtin"})
