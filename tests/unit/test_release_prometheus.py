"""What a Prometheus answers becomes counts; what it does not answer is missing, never zero."""

import json
import threading
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tidegate.config import OpsConfig
from tidegate.errors import BadInput
from tidegate.records import ReleaseState
from tidegate.rollout.prometheus import PrometheusOps

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STATE = ReleaseState(
    name="comments",
    baseline="v1",
    candidate="v2",
    run_digest="0",
    steps=(0, 100),
    step=0,
    phase="progressing",
    began_at=NOW.isoformat(),
    step_began_at=(NOW - timedelta(seconds=60)).isoformat(),
)


class Fake:
    """Answers by the part of the query that names it; `answers` may be changed by a test."""

    def __init__(self):
        outer = self
        self.asked = []
        self.status, self.body = 200, None
        self.warnings = []
        self.answers = {
            "_bucket": [({"le": "0.1"}, "90"), ({"le": "0.5"}, "99"), ({"le": "+Inf"}, "100")],
            "container_memory": [({}, [[i, str(0.5 + i / 100)] for i in range(3)])],
            "tidegate_requests_total": [({}, "100")],
            "tidegate_failed": [({}, "3")],
        }

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers["content-length"])
                form = dict(urllib.parse.parse_qsl(self.rfile.read(size).decode()))
                outer.asked.append((self.path, form))
                content = outer.body or json.dumps(outer.answer(form)).encode()
                self.send_response(outer.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, form):
        series = next((found for part, found in self.answers.items() if part in form["query"]), [])
        result = [
            {"metric": labels, "values": value}
            if isinstance(value, list)
            else {"metric": labels, "value": [NOW.timestamp(), value]}
            for labels, value in series
        ]
        found = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return {**found, "warnings": self.warnings} if self.warnings else found


@pytest.fixture
def prometheus():
    fake = Fake()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def ask(fake, **config):
    return PrometheusOps(OpsConfig(prometheus=fake.address, **config)).ops(STATE, NOW)


def test_counts_of_both_versions_come_over_the_step_s_seconds(prometheus):
    found = ask(prometheus)
    assert found.problem is None
    assert (found.candidate.requests, found.candidate.errors) == (100, 3)
    assert found.candidate.slower == {100.0: 10.0, 500.0: 1.0}
    assert [value for _, value in found.candidate.saturation] == [0.5, 0.51, 0.52]
    queries = [form["query"] for _, form in prometheus.asked]
    assert all('model_name="comments"' in query for query in queries)
    assert any('model_version="v2"' in q and "[60s]" in q for q in queries)
    assert any('model_version="v1"' in q for q in queries)
    assert not any("{model}" in q or "{seconds}" in q for q in queries)


def test_a_version_without_series_has_no_figures(prometheus):
    prometheus.answers["tidegate_requests_total"] = []
    assert ask(prometheus).candidate is None
    assert ask(prometheus).problem is None


def test_queries_of_the_configuration_replace_the_built_in_ones(prometheus):
    prometheus.answers["mesh_requests"] = [({}, "7")]
    found = ask(prometheus, queries={"requests": 'mesh_requests{to="{version}"}[{seconds}s]'})
    assert found.candidate.requests == 7
    assert prometheus.asked[0][1]["query"] == 'mesh_requests{to="v2"}[60s]'
    assert found.candidate.slower[100.0] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("part", "series", "told"),
    [
        ("tidegate_requests_total", [({}, "NaN")], "gave nan"),
        ("tidegate_requests_total", [({}, "5"), ({}, "6")], "2 series"),
        ("tidegate_requests_total", [({}, "many")], "no number"),
        ("tidegate_failed", [], "not its errors"),
        ("tidegate_failed", [({}, "-1")], "gave -1"),
        ("_bucket", [], "no latencies"),
        ("_bucket", [({"le": "0.1"}, "90")], "no bucket +Inf"),
        ("_bucket", [({}, "90")], "no label le"),
    ],
)
def test_an_answer_that_is_empty_partial_or_no_number_is_a_problem(prometheus, part, series, told):
    prometheus.answers[part] = series
    found = ask(prometheus)
    assert found.candidate is None
    assert told in found.problem


def test_saturation_that_nobody_measures_is_not_judged_unless_it_was_asked_for(prometheus):
    prometheus.answers["container_memory"] = []
    assert ask(prometheus).candidate.saturation == ()
    wanted = ask(prometheus, queries={"saturation": "container_memory{version}"})
    assert "no saturation" in wanted.problem


def test_warnings_errors_and_what_is_no_prometheus_are_problems(prometheus):
    prometheus.warnings = ["a store did not answer: results may be partial"]
    assert "may be partial" in ask(prometheus).problem
    prometheus.status = 422
    prometheus.body = json.dumps({"status": "error", "error": "parse error at char 3"}).encode()
    assert ask(prometheus).problem == "Prometheus answered 422: parse error at char 3"
    prometheus.status, prometheus.body = 200, b"<html>sign in</html>"
    assert "no answer of its interface" in ask(prometheus).problem


def test_a_prometheus_that_is_down_is_a_problem_within_its_time(prometheus):
    prometheus.server.shutdown()
    prometheus.server.server_close()
    assert "did not answer within 0.2 s" in ask(prometheus, timeout_seconds=0.2).problem


def test_an_address_that_is_none_is_refused_by_its_key():
    with pytest.raises(BadInput, match=r"rollout\.ops\.prometheus"):
        PrometheusOps(OpsConfig(prometheus="prometheus:9090"))
    with pytest.raises(BadInput, match=r"rollout\.ops\.prometheus"):
        PrometheusOps(OpsConfig())


def test_a_version_s_name_cannot_change_the_query(prometheus):
    state = STATE.model_copy(update={"candidate": 'v"} or vector(0) #'})
    PrometheusOps(OpsConfig(prometheus=prometheus.address)).ops(state, NOW)
    assert '\\"} or vector(0)' in prometheus.asked[0][1]["query"]
