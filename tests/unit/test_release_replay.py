"""Rows are sent to both versions, what they answer is put side by side, and the analyst judges."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from tests.unit.test_root_cause import manifest
from tidegate.config import PayloadLogConfig, RolloutConfig
from tidegate.errors import BadInput
from tidegate.records import CalibrationMap, DecisionRule, Observed, ReleaseState, Traffic
from tidegate.rollout.label_evidence import LiveQuality, join_labels
from tidegate.rollout.live_analyst import LiveAnalyst, ReplayedShadow, promised_outputs
from tidegate.rollout.replay import CopiedRows, LoggedRow, PayloadLogRows, replay
from tidegate.rollout.version_client import VersionClient

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STATE = ReleaseState(
    name="posts",
    baseline="v1",
    candidate="v2",
    run_digest="0",
    steps=(0, 100),
    step=0,
    phase="progressing",
    began_at=(NOW - timedelta(seconds=60)).isoformat(),
    step_began_at=(NOW - timedelta(seconds=60)).isoformat(),
)
OBSERVED = Observed(
    traffic=Traffic(baseline="v1", candidate="v2"),
    baseline_ready=True,
    candidate_ready=True,
    settled=True,
)


class Version:
    """A model server in a thread: the score is the input; `spoil` may change an answer."""

    def __init__(self, name):
        outer = self
        self.spoil, self.status, self.seen = (lambda told: told), 200, []
        self.outputs = frozenset({("score", "FP64")})

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.seen.append(body)
                v1 = "instances" in body
                score = body["instances"][0]["x"] if v1 else body["inputs"][0]["data"][0]
                told = {
                    "score": score,
                    "decision": "flagged" if score >= 0.5 else "leave",
                    "threshold": 0.5,
                    "model_version": name,
                }
                told = outer.spoil(told)
                if v1:
                    return self.answer(outer.status, {"predictions": [told]})
                tensors = [{"name": key, "data": [value]} for key, value in told.items()]
                return self.answer(outer.status, {"model_version": name, "outputs": tensors})

            def do_GET(self):
                told = [{"name": name, "datatype": kind} for name, kind in outer.outputs]
                self.answer(200, {"outputs": told})

            def answer(self, status, told):
                content = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def client(self, protocol="v1"):
        return VersionClient(self.address, "posts", protocol=protocol)


@pytest.fixture
def versions():
    both = {"v1": Version("v1"), "v2": Version("v2")}
    yield both
    for version in both.values():
        version.server.shutdown()
        version.server.server_close()


def rows(count):
    values = np.random.default_rng(0).random(count)
    return [
        LoggedRow(str(i), {"x": float(value)}, {"half": "even" if i % 2 else "odd"})
        for i, value in enumerate(values)
    ]


def compared(versions, count=20, *, protocol="v1"):
    clients = [versions[name].client(protocol) for name in ("v2", "v1")]
    try:
        return replay(rows(count), *clients, rows_per_second=1e6, deadline_seconds=60)
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_both_versions_answer_the_same_rows_in_order(versions, protocol):
    found = compared(versions, protocol=protocol).decisions
    scores = [row.inputs["x"] for row in rows(20)]
    assert found.candidate_score.tolist() == scores
    assert found.baseline_score.tolist() == scores
    assert list(found.candidate_decision) == ["flagged" if s >= 0.5 else "leave" for s in scores]
    assert list(found.groups["half"][:2]) == ["odd", "even"]
    assert not found.candidate_failed.any()


def test_replayed_rows_carry_ids_that_nobody_takes_for_posts(versions):
    compared(versions, 2)
    assert [body["ids"] for body in versions["v2"].seen] == [["replay:0"], ["replay:1"]]


@pytest.mark.parametrize("status", [500, 503, 422])
def test_an_error_status_is_a_failed_row_of_that_version_alone(versions, status):
    versions["v2"].status = status
    found = compared(versions).decisions
    assert found.candidate_failed.all()
    assert not found.baseline_failed.any()


def test_a_version_that_is_gone_fails_rows_and_breaks_nothing(versions):
    versions["v2"].server.shutdown()
    versions["v2"].server.server_close()
    assert compared(versions, 3).decisions.candidate_failed.all()


def test_rows_are_sent_no_faster_than_asked_and_no_longer_than_the_deadline(versions):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    clients = [versions[name].client() for name in ("v2", "v1")]
    found = replay(
        rows(20), *clients, rows_per_second=2, deadline_seconds=5, clock=lambda: now[0], sleep=sleep
    )
    for client in clients:
        client.close()
    assert found.decisions.candidate_score.size == 10
    assert now[0] == 5


def judged(versions, *, state=STATE, config=None, manifest=None, **sources):
    config = config or RolloutConfig(
        ops={"required": False}, quality={"replay_rows_per_second": 1e6}
    )
    shadow = ReplayedShadow(
        config,
        CopiedRows(bodies),
        client=lambda version: versions[version].client(),
        manifest=lambda version: manifest,
    )
    return LiveAnalyst(config, shadow=shadow, **sources).analyse(state, OBSERVED, NOW)


def bodies(after):
    return [
        (i, json.dumps({"instances": [row.inputs]}).encode())
        for i, row in enumerate(rows(210))
        if i >= after
    ] + [(210, b"no JSON"), (211, b"[]")]


def test_an_equal_candidate_advances_after_its_shadow(versions):
    analysis, memory = judged(versions)
    assert analysis.verdict == "advance", analysis.findings[0].says
    assert analysis.candidate_requests == 210
    json.dumps(memory, allow_nan=False)


def nan(told):
    return {**told, "score": float("nan")}


def inverted(told):
    return {**told, "decision": "leave" if told["decision"] == "flagged" else "flagged"}


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (nan, "finite scores"),
        (lambda told: {**told, "score": None}, "finite scores"),
        (inverted, "flips"),
        (lambda told: {**told, "model_version": "v0"}, "served version"),
        (lambda told: {key: told[key] for key in ("decision", "threshold")}, "output schema"),
        (lambda told: {**told, "score": "high"}, "output schema"),
    ],
)
def test_a_candidate_that_answers_wrongly_is_rolled_back_in_its_shadow(versions, spoil, name):
    versions["v2"].spoil = spoil
    analysis, _ = judged(versions)
    assert analysis.verdict == "rollback"
    assert name in {f.name for f in analysis.findings if f.verdict == "rollback"}


def test_a_candidate_owes_what_its_own_manifest_promises_not_what_the_baseline_answers(versions):
    promise = manifest("v2", threshold=0.5)
    versions["v1"].outputs = promised_outputs(promise) | {("answered_score", "FP64")}
    versions["v2"].outputs = promised_outputs(promise)
    assert judged(versions, manifest=promise)[0].verdict == "advance"
    calibration = CalibrationMap(method="isotonic", knots=(0.0, 1.0), values=(0.0, 1.0))
    promise = promise.model_copy(update={"rule": DecisionRule(calibration=calibration)})
    analysis, _ = judged(versions, manifest=promise)
    assert analysis.verdict == "rollback"
    assert "answered_score (FP64)" in analysis.findings[0].says


def test_a_crash_loop_rolls_back_and_metrics_that_are_required_pause(versions):
    analysis, _ = judged(versions, restarts=lambda version: 4)
    assert analysis.findings[0].name == "restarts"
    config = RolloutConfig(quality={"replay_rows_per_second": 1e6})
    analysis, _ = judged(versions, config=config)
    assert analysis.verdict == "pause"
    assert "write rollout.ops.prometheus" in analysis.findings[0].says


def test_golden_rows_are_asked_once_a_step(versions):
    golden = [(row, row.inputs["x"] >= 0.5) for row in rows(40)]
    config = RolloutConfig(quality={"replay_rows_per_second": 1e6})
    source = LiveQuality(config, lambda version: versions[version].client(), golden=golden)
    found = source.quality(STATE, NOW).golden
    assert found.label.tolist() == found.candidate_flagged.tolist()
    versions["v2"].spoil = inverted
    assert source.quality(STATE, NOW).golden is found
    later = source.quality(STATE.model_copy(update={"step": 1}), NOW).golden
    assert later.label.tolist() == (~later.candidate_flagged).tolist()
    assert len(versions["v2"].seen) == 80


def test_rows_of_the_payload_log_are_replayed_but_never_replays_of_replays(tmp_path):
    from tidegate.serving.payload_log import PayloadLog

    uri = str(tmp_path / "log")
    log = PayloadLog(PayloadLogConfig(uri=uri), now=lambda: NOW)
    log.offer(
        [
            {
                "row_id": f"replay:{i}" if i % 2 else f"p{i}",
                "event_id": f"e{i}",
                "time": NOW - timedelta(seconds=100 + i),
                "score": 0.3,
                "segment": "eu",
                "path": "full",
                "input_x": None if i == 0 else i / 10,
                "input_dialect": "north",
            }
            for i in range(6)
        ]
    )
    log.close()
    source = PayloadLogRows(uri, ["dialect"], lag_seconds=60)
    found = {row.row_id: row for row in source.rows(NOW - timedelta(seconds=100), NOW, 10)}
    assert sorted(found) == ["e0", "e2", "e4"]
    assert found["e0"].inputs == {"x": None, "dialect": "north"}
    assert found["e2"].groups == {"dialect": "north", "segment": "eu", "path": "full"}
    assert len(source.rows(NOW - timedelta(seconds=100), NOW, 2)) == 2
    assert source.rows(NOW - timedelta(seconds=10), NOW, 2) == []


def test_labels_find_their_rows_by_id_with_the_weight_of_their_action():
    served = pd.DataFrame(
        {
            "row_id": ["a", "b", "c", "d", None],
            "model_version": ["v2", "v1", "v2", "v0", "v2"],
            "decision": ["flagged", "flagged", "leave", "flagged", "flagged"],
            "action_probability": [0.1, 1.0, 1.0, 1.0, 1.0],
            "time": [pd.Timestamp(NOW)] * 5,
            "input_dialect": ["north", "south", "north", "north", "north"],
        }
    )
    labels = pd.DataFrame(
        {
            "row_id": ["a", "b", "c", "z"],
            "label": [1, 0, 1, 1],
            "kind": ["review", "appeal", "review", "review"],
        }
    )
    found = join_labels(served, labels, STATE, group_columns=["dialect"], max_weight=5.0)
    assert found.labels.by_candidate.tolist() == [True]
    assert found.labels.label.tolist() == [True]
    assert found.labels.weight.tolist() == [5.0]
    assert found.labels.groups == {"dialect": ["north"]}
    assert (found.appeals.candidate_flagged, found.appeals.baseline_flagged) == (1, 1)
    assert (found.appeals.candidate_upheld, found.appeals.baseline_upheld) == (0, 1)


def test_an_address_that_is_none_is_refused():
    with pytest.raises(BadInput, match="must be http"):
        VersionClient("localhost:80", "posts")
