import json

import pytest

from tests.unit.rollout.test_experiment import judge, outcomes
from tidegate.errors import BadInput
from tidegate.rollout.experiment import main
from tidegate.rollout.experiment_page import add_look, read_looks

CONFIG = """
name: toy
data: {source: posts.parquet, label: violating}
rollout: {experiment: {metric: upheld, smallest_effect: 0.04}}
"""


@pytest.fixture
def command(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(CONFIG)
    outcomes(3000, seed=9).to_parquet(tmp_path / "past.parquet")

    def run(*arguments):
        status = main(
            [str(tmp_path / "config.yaml"), "--past", str(tmp_path / "past.parquet")]
            + [str(argument) for argument in arguments]
        )
        told = capsys.readouterr()
        return status, told.out + told.err

    return run


def test_looks_are_kept_and_the_page_tells_the_last_one(tmp_path):
    add_look(tmp_path, judge(outcomes(600), days=1.0))
    looks = add_look(tmp_path, judge(outcomes(8000, gain=0.1), days=9.0))
    assert [look.verdict for look in looks] == ["go_on", "better"]
    assert read_looks(tmp_path) == looks
    page = (tmp_path / "experiment.html").read_text()
    assert "The candidate is better" in page
    assert "2 looks" in page
    assert 'data-chart="chart-looks"' in page
    with pytest.raises(BadInput, match="holds experiment 'ab'"):
        add_look(tmp_path, judge(outcomes(600, name="cd"), name="cd"))
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(BadInput, match="is not the record of an experiment"):
        read_looks(tmp_path)


def test_a_page_before_the_first_outcome_says_so(tmp_path):
    add_look(tmp_path, judge(outcomes(100).head(0)))
    assert "not enough units" in (tmp_path / "experiment.html").read_text()


def test_the_command_plans_first_and_holds_to_its_plan(command, tmp_path):
    status, told = command("--units-a-day", 500)
    plan = json.loads(told)
    assert (status, plan["metric"], plan["days"] > 0) == (0, "upheld", True)
    outcomes(8000, gain=0.1).to_parquet(tmp_path / "now.parquet")
    judged = ["--outcomes", tmp_path / "now.parquet", "--name", "ab", "--out", tmp_path / "ab"]
    judged += ["--baseline", "v1", "--candidate", "v2", "--began", "2026-05-01"]
    status, told = command(*judged)
    assert (status, told.startswith("better: ")) == (0, True)
    first = read_looks(tmp_path / "ab")[0].plan
    outcomes(3000, seed=5, share=0.5).to_parquet(tmp_path / "past.parquet")
    command(*judged)
    assert [look.plan for look in read_looks(tmp_path / "ab")] == [first, first]


def test_what_is_missing_is_named(command, tmp_path):
    assert command("--outcomes", tmp_path / "past.parquet") == (
        2,
        "error: --name: is needed with --outcomes; write it\n",
    )
    (tmp_path / "config.yaml").write_text(CONFIG.replace("rollout", "# rollout"))
    status, told = command()
    assert (status, "has no rollout.experiment" in told) == (2, True)
