"""`tidegate runs --html`: runs side by side on one page."""

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.run_record import RunRecord
from pipelines.runs_page import config_differences
from tests.report_sample import evaluation_of
from tidegate.store import write_record


@pytest.fixture
def runs(tmp_path):
    """Return a folder with a finished run of this version, one that failed, and an older one."""
    found = evaluation_of()[0]
    for number, (name, status) in enumerate(
        [("older", "done"), ("broken", "failed"), ("newest", "done")]
    ):
        done = status == "done"
        record = RunRecord(
            name="comments",
            status=status,
            started_at=f"2026-03-0{number + 1}T09:00:00+00:00",
            run_digest="r",
            config={"policy": {"min_precision": 0.8 + number / 100}, "name": "comments"},
            digests={"source": f"{number}" * 64, "code": "c" * 64},
            versions={},
            steps=(),
            decision=found.decision if done else None,
            reasons=found.reasons if done else (),
            error=None if done else "search: </script> broke",
        )
        write_record(tmp_path / name / "run.json", record)
    write_record(tmp_path / "newest" / "evaluation.json", found)
    (tmp_path / "newest" / "report.html").write_text("<p>report</p>")
    (tmp_path / "older" / "evaluation.json").write_text('{"of": "another version"}')
    return tmp_path


def page_of(folder, file):
    result = CliRunner().invoke(app, ["runs", str(folder), "--html", str(file)])
    assert result.exit_code == 0, result.output
    assert str(file) in result.output
    return file.read_text()


def test_the_newest_run_stands_first_and_links_to_its_report(runs):
    page = page_of(runs, runs / "pages" / "runs.html")
    rows = page.split("<tbody>")[1].split("</tbody>")[0]
    order = [rows.index(name) for name in ("newest", "broken", "older")]
    assert order == sorted(order)
    assert 'href="../newest/report.html"' in rows
    assert rows.count("href=") == 1


def test_a_run_without_figures_says_what_it_knows(runs):
    page = page_of(runs, runs / "runs.html")
    assert "search: &lt;/script&gt; broke" in page
    assert "failed" in page.split("<tbody>")[1]


def test_it_shows_bounds_and_what_differs(runs):
    found, page = evaluation_of()[0], page_of(runs, runs / "runs.html")
    assert f"{found.threshold:.4f}" in page
    assert "Precision and recall of each run" in page
    differences = page.split('<section id="differences"')[1]
    assert "policy.min_precision" in differences
    assert '<th scope="row">name' not in differences


def test_only_stated_values_that_differ_are_told():
    first = {"a": {"b": 1, "c": [1]}, "d": {}, "e": None}
    second = {"a": {"b": 2, "c": [1]}, "d": {}, "e": 3}
    assert config_differences([first, second]) == {"a.b": (1, 2)}
    assert config_differences([first]) == {}
