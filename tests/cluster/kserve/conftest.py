"""An InferenceService on the fake Kubernetes, with the fake KServe beside it."""

from types import SimpleNamespace

import pytest

from tests.fake_kserve import FakeKServe
from tests.fake_kubernetes import FakeKubernetes
from tidegate.cluster_api import ClusterApi
from tidegate.config import RunConfig
from tidegate.records import ReleaseState, Traffic
from tidegate.rollout.inference_service import PLACEHOLDER, build_inference_service
from tidegate.rollout.kserve_backend import KServeBackend
from tidegate.rollout.model_store import ModelStore

OLD, NEW, KEPT = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
KEY = ("serving.kserve.io", "tidegate", "inferenceservices", "moderation")
#: What the store reads of a bundle that is an empty folder.
MANIFEST = SimpleNamespace(source_digest="")
CONFIG = RunConfig.model_validate(
    {"name": "comments", "data": {"source": "c.parquet", "text": "body", "label": "y"}}
)


def state(**changes):
    fields = {
        "name": "comments", "baseline": OLD, "candidate": NEW, "run_digest": "r",
        "steps": (0, 5, 25, 50, 100), "step": 1, "phase": "progressing",
        "began_at": "2026-01-01T00:00:00+00:00", "step_began_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return ReleaseState(**{**fields, **changes})


@pytest.fixture
def cluster(tmp_path):
    """Return a maker of clusters: in this mode, with this version in service."""
    with FakeKubernetes() as kubernetes:
        kserve = FakeKServe(kubernetes)
        kubernetes.clock.ticks.append(kserve.round)

        def api():
            return ClusterApi(kubernetes.configuration, kubernetes.clock, 5)

        def make(mode="Standard", serving=OLD, config=CONFIG):
            service = build_inference_service(
                config,
                Traffic(baseline=serving or PLACEHOLDER),
                mode,
                stopped=serving is None,
            )
            kubernetes.put("inferenceservices", service, "serving.kserve.io")
            for _ in range(5):
                kserve.round()
            kserve.answered.clear()
            backend = KServeBackend(
                config, api=api(), clock=kubernetes.clock, store=ModelStore(tmp_path)
            )

            def written():
                return [r for r in kubernetes.requests if r[0] in ("PATCH", "PUT", "POST")]

            return SimpleNamespace(
                backend=backend, kubernetes=kubernetes, kserve=kserve, api=api,
                clock=kubernetes.clock, written=written, store=ModelStore(tmp_path),
                log=tmp_path / "comments" / "rollout" / "events.jsonl",
                service=lambda: kubernetes.objects[KEY],
                answers=lambda: kserve.who_answers("moderation"),
            )  # fmt: skip

        yield make
