from datetime import timedelta

import pandas as pd
import pytest

from benchmarks.simulated_place import START
from tests.unit.rollout.scene import CONFIG as ROLLOUT
from tidegate.config import RunConfig
from tidegate.records import Observed
from tidegate.rollout.cluster_analyst import cluster_analyst, golden_rows
from tidegate.rollout.controller import main
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.transitions import begin


def config(**rollout):
    return RunConfig.model_validate(
        {
            "name": "toy",
            "data": {
                "source": "posts.parquet",
                "text": "text",
                "label": "label",
                "violating": ["hate"],
            },
            "rollout": rollout,
        }
    )


class NotServed:
    def address_of(self, version):
        return None

    def restarts_of(self, version):
        return None


def look(settings, folder):
    state, _ = begin(
        name="toy",
        baseline="old",
        candidate="new",
        run_digest="run",
        config=ROLLOUT,
        actor="pat",
        now=START,
    )
    observed = Observed(
        traffic=state.traffic, baseline_ready=True, candidate_ready=True, settled=True
    )
    analyst = cluster_analyst(settings, ModelStore(folder), NotServed())
    return analyst.analyse(state, observed, START + timedelta(seconds=60))[0]


def test_a_release_that_nothing_is_known_of_waits_and_says_why(tmp_path):
    found = look(config(), tmp_path)
    assert found.verdict == "pause"
    said = " ".join(finding.says for finding in found.findings)
    assert "write rollout.ops.prometheus" in said
    assert "no payload log" in said


def test_a_prometheus_that_cannot_be_reached_is_a_pause(tmp_path):
    found = look(config(ops={"prometheus": "http://127.0.0.1:9"}), tmp_path)
    assert found.verdict == "pause"
    assert any("serving metrics are missing" in finding.says for finding in found.findings)


def test_golden_rows_are_requests_with_what_people_said(tmp_path):
    frame = pd.DataFrame({"text": ["a", None, "c"], "label": ["hate", "fine", "hate"]})
    frame.to_parquet(tmp_path / "golden.parquet")
    found = golden_rows(config(), str(tmp_path / "golden.parquet"))
    assert [violating for _, violating in found] == [True, False, True]
    assert [row.inputs for row, _ in found] == [{"text": "a"}, {"text": None}, {"text": "c"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such configuration file"),
        ("name: toy\ndata: {source: a, text: t, label: l}\n", "rollout.model_store: is not set"),
    ],
)
def test_a_controller_without_what_it_needs_ends_with_one_line_and_2(tmp_path, capsys, text, says):
    path = tmp_path / "toy.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["--config", str(path)]) == 2
    assert says in capsys.readouterr().err
