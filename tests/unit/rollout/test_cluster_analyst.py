from datetime import timedelta

import pandas as pd
import pytest

from benchmarks.simulated_place import START
from tests.unit.rollout.scene import CONFIG as ROLLOUT
from tidegate.config import ExplorationConfig, PayloadLogConfig, RunConfig, ServingConfig
from tidegate.errors import BadInput
from tidegate.records import Observed
from tidegate.rollout.cluster_analyst import cluster_analyst
from tidegate.rollout.cluster_controller import main
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.quality_sources import golden_rows, label_table, largest_weight, live_quality
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


def test_labels_that_others_append_are_joined_to_the_rows_that_each_version_flagged(tmp_path):
    from tidegate.serving.payload_log import PayloadLog

    began = START
    log = PayloadLog(PayloadLogConfig(uri=str(tmp_path / "log")), now=lambda: began)
    log.offer(
        [
            {
                "event_id": f"e{number}",
                "row_id": f"p{number}",
                "time": began + timedelta(seconds=number),
                "model_version": "new" if number % 2 else "old",
                "decision": "flagged",
                "action_probability": 1.0,
            }
            for number in range(6)
        ]
    )
    log.close()
    table = tmp_path / "labels"
    settings = config(quality={"labels": str(table)})
    settings = settings.model_copy(
        update={"serving": ServingConfig(payload_log={"uri": str(tmp_path / "log")})}
    )
    source = live_quality(settings, lambda version: None)
    state, _ = begin(
        name="toy",
        baseline="old",
        candidate="new",
        run_digest="run",
        config=ROLLOUT,
        actor="pat",
        now=began,
    )
    # Nobody has labelled anything yet.
    early = source.quality(state, began + timedelta(seconds=30))
    assert early.labels.label.size == 0
    assert early.appeals.candidate_flagged == early.appeals.baseline_flagged == 3

    table.mkdir()
    at = (began + timedelta(seconds=40)).isoformat()
    (table / "a.csv").write_text(
        "row_id,label,source,time\n"
        f"p1,hate,review,{at}\np3,fine,review,{at}\np0,hate,review,{at}\np5,fine,appeal,{at}\n"
        f"p2,hate,review,{(began + timedelta(hours=2)).isoformat()}\n"
    )
    found = source.quality(state, began + timedelta(seconds=60))
    assert sorted(
        zip(found.labels.by_candidate.tolist(), found.labels.label.tolist(), strict=True)
    ) == [(False, True), (True, False), (True, True)]
    assert (found.appeals.candidate_upheld, found.appeals.baseline_upheld) == (1, 0)


def test_a_label_table_of_another_shape_is_named_and_explored_rows_weigh_more(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,label,time\n1,1,2026-03-01T00:00:00Z\n")
    with pytest.raises(BadInput, match="no column 'row_id'"):
        label_table(config(), str(path))(START, START + timedelta(days=1))
    assert largest_weight(ExplorationConfig()) == 1
    assert largest_weight(ExplorationConfig(allow_share=0.05)) == pytest.approx(20)


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
