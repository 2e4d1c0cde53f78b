"""A small Kubernetes API server on this machine: documents by path, rights, and a log."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "bearer-token-that-nobody-may-see"


class FakeCluster:
    """What the server answers; change it before asking."""

    def __init__(self):
        self.documents = {}
        self.forbidden = ()
        self.denied = set()
        self.user = "alice"
        self.may_impersonate = True
        self.status = None
        self.seconds = threading.Event()
        self.slow = False
        self.asked = []
        self.address = ""

    def answer(self, method, path, body, headers):
        self.asked.append((method, path, headers.get("Impersonate-User")))
        if self.slow:
            self.seconds.wait(30)
        if self.status is not None:
            return self.status, {"kind": "Status"}
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"kind": "Status"}
        if path.endswith("/selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": self.user}}}
        if path.endswith("/selfsubjectaccessreviews"):
            return self._review(body["spec"]["resourceAttributes"], headers)
        if any(part in path for part in self.forbidden):
            return 403, {"kind": "Status", "message": f"{self.user} cannot"}
        if path in self.documents:
            return 200, self.documents[path]
        return 404, {"kind": "Status"}

    def _review(self, of, headers):
        if headers.get("Impersonate-User") and not self.may_impersonate:
            return 403, {"kind": "Status"}
        return 201, {"status": {"allowed": (of["verb"], of["resource"]) not in self.denied}}

    def serve_group(self, group, version, *resources):
        groups = self.documents.setdefault("/apis", {"groups": []})["groups"]
        groups.append({"name": group, "versions": [{"version": version}]})
        self.documents[f"/apis/{group}/{version}"] = {
            "resources": [{"name": name} for name in resources]
        }

    def deploy(self, namespace, name, image):
        self.documents[f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"] = {
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}}
        }

    def set_kserve(self, mode, *, gateway):
        self.documents["/api/v1/namespaces/kserve/configmaps/inferenceservice-config"] = {
            "data": {
                "deploy": json.dumps({"defaultDeploymentMode": mode}),
                "ingress": json.dumps({"enableGatewayApi": gateway}),
            }
        }


def bare(cluster):
    """Make it a Kubernetes with nothing on it."""
    cluster.documents["/version"] = {"gitVersion": "v1.36.0"}
    cluster.documents["/apis"] = {"groups": []}
    cluster.documents["/api/v1/nodes"] = {"items": [node("n1")]}


def whole(cluster):
    """Make it a Kubernetes with all that Tidegate can use."""
    bare(cluster)
    cluster.serve_group("kubeflow.org", "v1beta1", "experiments", "trials", "scheduledworkflows")
    cluster.serve_group("argoproj.io", "v1alpha1", "workflows")
    cluster.serve_group("trainer.kubeflow.org", "v1alpha1", "trainjobs")
    cluster.serve_group("serving.kserve.io", "v1beta1", "inferenceservices")
    cluster.serve_group("gateway.networking.k8s.io", "v1", "httproutes")
    cluster.serve_group("monitoring.coreos.com", "v1", "servicemonitors")
    cluster.deploy("kubeflow", "ml-pipeline", "ghcr.io/kubeflow/kfp-api-server:2.17.0")
    cluster.deploy("kubeflow", "katib-controller", "ghcr.io/kubeflow/katib-controller:v0.19.0")
    cluster.deploy("kserve", "kserve-controller-manager", "kserve/kserve-controller:v0.21.0")
    cluster.set_kserve("Standard", gateway=True)
    home = "/api/v1/namespaces/tidegate"
    cluster.documents[home] = {
        "metadata": {
            "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "katib.kubeflow.org/metrics-collector-injection": "enabled",
            }
        }
    }
    policy = "mutatingadmissionpolicies/tidegate-restricted-defaults"
    cluster.documents[f"/apis/admissionregistration.k8s.io/v1/{policy}"] = {"metadata": {}}
    for account in ("tidegate-pipeline", "tidegate-trial"):
        cluster.documents[f"{home}/serviceaccounts/{account}"] = {"metadata": {}}
    cluster.documents[f"{home}/persistentvolumeclaims/tidegate-workspace"] = {
        "status": {"phase": "Bound"},
        "spec": {"accessModes": ["ReadWriteMany"]},
    }
    cluster.documents["/apis/storage.k8s.io/v1/storageclasses"] = {
        "items": [
            {
                "metadata": {
                    "name": "fast",
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                }
            }
        ]
    }


def node(name, *, labels=None, taints=(), gpus=0):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": "8", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}},
    }


@contextlib.contextmanager
def served(cluster: FakeCluster) -> Iterator[FakeCluster]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _respond(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = self.path.partition("?")[0]
            status, document = cluster.answer(self.command, path, body, self.headers)
            content = json.dumps(document).encode()
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = _respond  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    cluster.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cluster
    finally:
        cluster.seconds.set()
        server.shutdown()
        server.server_close()
        thread.join()


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
