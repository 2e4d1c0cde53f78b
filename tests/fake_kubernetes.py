"""A small Kubernetes over real HTTP: objects with state, rights, a log, and faults on demand."""

import contextlib
import copy
import itertools
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "bearer-token-that-nobody-may-see"
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)


@dataclass
class FakeClock:
    """Time that passes only when someone sleeps; `ticks` are called then."""

    seconds: float = 0.0
    ticks: list = field(default_factory=list)
    slept: list = field(default_factory=list)
    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return self.seconds

    def now(self):
        return self.epoch + timedelta(seconds=self.seconds)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds
        for tick in self.ticks:
            tick()


@dataclass
class Fault:
    """What the next matching requests meet instead of an answer."""

    method: str
    path: str
    status: int | str  # a status, or "reset": the connection is torn down
    times: int = 1
    headers: dict = field(default_factory=dict)
    after: bool = False  # the request is carried out, only its answer is lost


class FakeKubernetes:
    """What a namespace holds, by (group, namespace, plural, name), and the rest by its path.

    Parameters
    ----------
    documents : dict
        Answers to GET by path, for what has no state here: versions, groups, nodes.
    forbidden : tuple of str
        Parts of paths that `user` may not see.
    denied : set of (str, str)
        Verbs and resources that an access review refuses.
    admit : callable
        What webhooks make of an object that is changed, by its key.
    slow : callable
        Says of a path whether its answer is held back until the server ends.
    """

    def __init__(self, clock=None):
        self.clock = clock or FakeClock()
        self.objects = {}
        self.documents = {}
        self.faults = []
        self.requests = []
        self.tokens = {TOKEN}
        self.user = "alice"
        self.may_impersonate = True
        self.forbidden = ()
        self.denied = set()
        self.slow = lambda path: False
        self.admit = lambda key, document: document
        self._ended = threading.Event()
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def configuration(self, token=TOKEN):
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = self.address
        configuration.api_key = {"authorization": f"Bearer {token}"}
        return configuration

    def of(self, plural):
        return [document for key, document in self.objects.items() if key[2] == plural]

    def put(self, plural, document, group="kubeflow.org"):
        metadata = document["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", self.clock.now().isoformat())
        metadata.setdefault("generation", 1)
        metadata["resourceVersion"] = str(next(self._numbers))
        self.objects[group, metadata.get("namespace", "tidegate"), plural, metadata["name"]] = (
            document
        )
        return document

    def save(self, plural, document):
        """Keep a changed status; here a document is changed where it is."""

    def change(self, key, document):
        """Put a changed document in an object's place; a changed spec is a new generation."""
        old, metadata = self.objects[key], document["metadata"]
        kept = ("uid", "creationTimestamp", "namespace", "name")
        metadata.update({name: old["metadata"][name] for name in kept if name in old["metadata"]})
        metadata["generation"] = old["metadata"]["generation"] + (
            old.get("spec") != document.get("spec")
        )
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if old != document:
            metadata["resourceVersion"] = str(next(self._numbers))
        self.objects[key] = document
        return document

    def remove(self, key):
        uid = self.objects.pop(key)["metadata"]["uid"]
        for other, document in list(self.objects.items()):
            owners = document["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and other in self.objects:
                self.remove(other)

    def respond(self, method, url, body, headers):
        """Return the status and the document for whoever asks, if they may ask."""
        path, who = urlsplit(url).path, headers.get("Impersonate-User")
        self.requests.append((method, path, who))
        if self.slow(path):
            self._ended.wait(30)
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, _status(401, "Unauthorized")
        if path.endswith("/selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": self.user}}}
        if path.endswith("/selfsubjectaccessreviews"):
            if who and not self.may_impersonate:
                return 403, _status(403, f"{self.user} cannot impersonate")
            asked = body["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in self.denied
            return 201, {"status": {"allowed": allowed}}
        if any(part in path for part in self.forbidden):
            return 403, _status(403, f"{self.user} cannot")
        return self.answer(method, url, body)

    def answer(self, method, url, body):
        """Return the status and the document for a request that is allowed."""
        parts = urlsplit(url)
        if parts.path in self.documents:
            return 200, self.documents[parts.path]
        match = _PATH.fullmatch(parts.path)
        if match is None:
            return 404, _status(404, f"{parts.path} not found")
        group, namespace = match["group"] or "", match["namespace"]
        key = (group, namespace, match["plural"], match["name"])
        if method == "POST":
            key = (*key[:3], body["metadata"]["name"])
            if key in self.objects:
                return 409, _status(409, f"{key[2]} {key[3]!r} already exists")
            return 201, self.put(match["plural"], body, group)
        if match["name"] is None:
            selector = parse_qs(parts.query).get("labelSelector", [""])[0]
            items = [
                document
                for other, document in self.objects.items()
                if other[:3] == key[:3]
                and _selects(selector, document["metadata"].get("labels") or {})
            ]
            return 200, {"kind": "List", "items": items}
        if key not in self.objects:
            return 404, _status(404, f"{key[2]} {key[3]!r} not found")
        if method == "DELETE":
            self.remove(key)
            return 200, _status(200, "deleted")
        if method in ("PUT", "PATCH"):
            return self._write(method, key, body)
        return 200, self.objects[key]

    def _write(self, method, key, body):
        present = self.objects[key]
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != present["metadata"]["resourceVersion"]:
            return 409, _status(409, f"{key[2]} {key[3]!r} has been modified")
        changed = body if method == "PUT" else merge(present, body)
        if key[2] in WITH_STATUS and "status" in present:
            changed["status"] = present["status"]
        return 200, self.change(key, self.admit(key, changed))


#: Kinds whose status is a resource of its own, which a plain write does not touch.
WITH_STATUS = ("inferenceservices", "deployments", "services", "revisions")


def merge(target, patch):
    """Return a JSON value with a merge patch in it (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return copy.deepcopy(merged)


def write_kubeconfig(path, address, user=None):
    """Write a kubeconfig with one context, called fake."""
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": user or {"token": TOKEN}}],
                "contexts": [{"name": "fake", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )


def _handler(kubernetes):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def _serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fault = next(
                (
                    fault
                    for fault in kubernetes.faults
                    if fault.times and fault.method == self.command and fault.path in self.path
                ),
                None,
            )
            if fault is None or fault.after:
                answer = kubernetes.respond(self.command, self.path, body, self.headers)
            if fault is None:
                self._send(*answer)
                return
            fault.times -= 1
            if fault.status == "reset":
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.close_connection = True
                self.connection.close()
                return
            self._send(fault.status, _status(fault.status, "as ordered"), fault.headers)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815

        def _send(self, status, document, headers=()):
            content = json.dumps(document).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def finish(self):
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    return Handler


def _status(code, message):
    return {"kind": "Status", "code": code, "message": message}


def _selects(selector, labels):
    for name, names, value in re.findall(r"([^\s,=]+)(?: in \(([^)]*)\)|=([^,]*))", selector):
        if labels.get(name) not in (names.split(",") if names else [value]):
            return False
    return True
