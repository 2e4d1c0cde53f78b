"""A small stateful stand-in for the Kubeflow Pipelines API (v2beta1) over real HTTP.

It keeps pipelines, versions, experiments, runs and recurring runs, refuses what the real server
refuses, pages its lists, and fails on demand.
"""

import email
import email.policy
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

PAGE = 2
_TYPES = {"STRING": str, "STRUCT": dict, "LIST": list}


@dataclass
class Fault:
    """What goes wrong with the next matching request; `after`: its work is done all the same."""

    method: str
    path: str
    status: int = 500
    body: str = '{"message": "the database is away"}'
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    after: bool = False
    times: int = 1

    def strikes(self, method: str, path: str) -> bool:
        hit = self.times > 0 and method == self.method and re.search(self.path, path) is not None
        self.times -= hit
        return hit


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class FakeKfp:
    """The state behind the server; tests read and set it."""

    multi_user: bool = False
    token: str | None = None
    address: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    #: How a run stands at each look: (state, {task: state or (state, error)}); the last one stays.
    story: list[tuple[str, dict[str, Any]]] = field(default_factory=lambda: [("SUCCEEDED", {})])
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """Do what a request asks and return the answer's body."""
        if path == "/healthz":
            return {"multi_user": self.multi_user}
        if method == "GET" and (match := re.fullmatch("/pipelines/([^/]+)/versions", path)):
            own = [item for item in self.versions if item["pipeline_id"] == match[1]]
            return _page("pipeline_versions", own, query)
        if method == "POST" and path == "/pipelines/upload_version":
            return self._upload(query, body)
        if match := re.fullmatch(r"/recurringruns/([^/:]+)(:enable|:disable)?", path):
            return self._change_recurring(method, match[1], match[2])
        if method == "GET" and (match := re.fullmatch("/runs/([^/]+)", path)):
            return self._run(match[1])
        if method == "POST" and (match := re.fullmatch("/runs/([^/]+):terminate", path)):
            self._run(match[1])
            self.terminated.append(match[1])
            return {}
        kinds = {
            "/pipelines": ("pipelines", self.pipelines, self._create_pipeline),
            "/experiments": ("experiments", self.experiments, self._create_experiment),
            "/runs": ("runs", self.runs, self._create_run),
            "/recurringruns": ("recurringRuns", self.recurring, self._create_recurring),
        }
        if path not in kinds:
            raise Refusal(404, f"{path} not found")
        key, items, create = kinds[path]
        if method == "POST":
            return create(body)
        if path in ("/pipelines", "/experiments"):
            self._require_namespace(query.get("namespace"))
        else:
            items = [item for item in items if item["experiment_id"] == query["experiment_id"]]
        return _page(key, items, query)

    def _require_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refusal(400, "Invalid input error: a namespace is needed in multi-user mode")
        if namespace and not self.multi_user:
            raise Refusal(400, "Invalid input error: In single-user mode, namespace must be empty")

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._ids)}"

    def _create_pipeline(self, body: dict[str, Any]) -> dict[str, Any]:
        self._require_namespace(body.get("namespace"))
        if any(item["display_name"] == body["display_name"] for item in self.pipelines):
            raise Refusal(409, "Already exist error: a pipeline of this name exists")
        self.pipelines.append({**body, "pipeline_id": self._id("pipeline")})
        return self.pipelines[-1]

    def _upload(self, query: dict[str, str], body: str) -> dict[str, Any]:
        if not any(item["pipeline_id"] == query["pipelineid"] for item in self.pipelines):
            raise Refusal(404, "no such pipeline")
        same = [item for item in self.versions if item["pipeline_id"] == query["pipelineid"]]
        if any(item["name"] == query["name"] for item in same):
            raise Refusal(409, "Already exist error: a version of this name exists")
        documents = list(yaml.load_all(body, yaml.CSafeLoader))
        if "pipelineInfo" not in documents[0]:
            raise Refusal(400, "Invalid input error: not a pipeline")
        made = {
            "pipeline_id": query["pipelineid"],
            "pipeline_version_id": self._id("version"),
            "name": query["name"],
            "display_name": query["display_name"],
        }
        self.versions.append({**made, "pipeline_spec": documents[0]})
        return made

    def _create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        self._require_namespace(body.get("namespace"))
        if any(item["display_name"] == body["display_name"] for item in self.experiments):
            raise Refusal(409, "Already exist error: an experiment of this name exists")
        self.experiments.append({**body, "experiment_id": self._id("experiment")})
        return self.experiments[-1]

    def _require_job(self, body: dict[str, Any]) -> None:
        if not any(item["experiment_id"] == body["experiment_id"] for item in self.experiments):
            raise Refusal(404, "no such experiment")
        reference = body["pipeline_version_reference"]
        found = [
            item
            for item in self.versions
            if item["pipeline_id"] == reference.get("pipeline_id")
            and item["pipeline_version_id"] == reference.get("pipeline_version_id")
        ]
        if not found:
            raise Refusal(400, "Invalid input error: no such pipeline and version")
        wanted = found[0]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
        given = body["runtime_config"]["parameters"]
        for name, value in given.items():
            if name not in wanted:
                raise Refusal(400, f"Invalid input error: unknown parameter {name}")
            if not isinstance(value, _TYPES[wanted[name]["parameterType"]]):
                raise Refusal(400, f"Invalid input error: parameter {name} has a wrong type")
        missing = [k for k, v in wanted.items() if not v.get("isOptional") and k not in given]
        if missing:
            raise Refusal(400, f"Invalid input error: parameters {missing} are missing")

    def _create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        self._require_job(body)
        self.runs.append({**body, "run_id": self._id("run"), "looks": 0})
        return self.runs[-1]

    def _run(self, run_id: str) -> dict[str, Any]:
        found = next((item for item in self.runs if item["run_id"] == run_id), None)
        if found is None:
            raise Refusal(404, f"run {run_id} not found")
        state, tasks = self.story[min(found["looks"], len(self.story) - 1)]
        state = "CANCELED" if run_id in self.terminated else state
        found["looks"] += 1
        return {**found, "state": state, "run_details": {"task_details": list(_details(tasks))}}

    def _create_recurring(self, body: dict[str, Any]) -> dict[str, Any]:
        self._require_job(body)
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refusal(400, "Invalid input error: max concurrency out of range")
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refusal(400, "Invalid input error: Schedule cron is not supported")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        made = {**body, "recurring_run_id": self._id("recurring"), "status": status}
        self.recurring.append(made)
        return made

    def _change_recurring(self, method: str, wanted: str, change: str | None) -> dict[str, Any]:
        found = next((item for item in self.recurring if item["recurring_run_id"] == wanted), None)
        if found is None:
            raise Refusal(404, f"recurring run {wanted} not found")
        if method == "DELETE":
            self.recurring.remove(found)
        elif change is not None:
            found["status"] = {":enable": "ENABLED", ":disable": "DISABLED"}[change]
        return {}


def only(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one thing of a kind that the server should have."""
    assert len(items) == 1
    return items[0]


def _page(key: str, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    if "filter" in query:
        for predicate in json.loads(query["filter"])["predicates"]:
            assert predicate["operation"] == "EQUALS"
            items = [i for i in items if i[predicate["key"]] == predicate["stringValue"]]
    start = int(query.get("page_token") or 0)
    page = {key: items[start : start + PAGE], "total_size": len(items)}
    return page | ({"next_page_token": str(start + PAGE)} if start + PAGE < len(items) else {})


def _details(tasks: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield task details as KFP makes them of Argo's nodes: driver, task, and the task's pod."""
    for name, told in tasks.items():
        state, error = told if isinstance(told, tuple) else (told, "")
        cached = state == "CACHED"
        yield {"task_id": f"{name}-driver", "display_name": f"{name}-driver", "state": "SUCCEEDED"}
        yield {
            "task_id": name,
            "display_name": name,
            "state": "SUCCEEDED" if cached else state,
            "child_tasks": [{"pod_name": f"{name}-executor"}],
            **({"error": {"code": 1, "message": error}} if error else {}),
        }
        yield {
            "task_id": f"{name}-executor",
            "display_name": "executor",
            "state": "SKIPPED" if cached else state,
        }


@contextmanager
def serving(kfp: FakeKfp) -> Iterator[FakeKfp]:
    """Serve the state on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            path = url.path.removeprefix("/apis/v2beta1")
            query = dict(urllib.parse.parse_qsl(url.query))
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kfp.requests.append(f"{self.command} {path}")
            fault = next((f for f in kfp.faults if f.strikes(self.command, path)), None)
            if fault is not None and not fault.after:
                return self._send(fault.status, fault.body, fault.headers, fault.seconds)
            if kfp.token and self.headers.get("Authorization") != f"Bearer {kfp.token}":
                return self._send(401, '{"message": "Unauthenticated"}')
            try:
                body = _body(content, self.headers.get("Content-Type") or "")
                answer = kfp.answer(self.command, path, query, body)
            except Refusal as error:
                return self._send(error.status, json.dumps({"message": str(error), "code": 3}))
            if fault is not None:
                return self._send(fault.status, fault.body, fault.headers, fault.seconds)
            return self._send(200, json.dumps(answer))

        def _send(
            self,
            status: int,
            text: str,
            headers: dict[str, str] | None = None,
            seconds: float = 0.0,
        ) -> None:
            time.sleep(seconds)
            content = text.encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kfp.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _body(content: bytes, kind: str) -> Any:
    if not content:
        return None
    if kind.startswith("multipart/"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.message_from_bytes(head + content, policy=email.policy.HTTP)
        return next(message.iter_parts()).get_content()
    return json.loads(content)
