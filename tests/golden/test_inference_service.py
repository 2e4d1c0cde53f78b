"""InferenceServices of a release, beside documents agreed on, KServe's models and our manifests.

``UPDATE_GOLDEN=1 python -m pytest tests/golden`` writes the documents anew.
"""

import os
from pathlib import Path

import pytest
import yaml

from tests.unit.manifests.kserve_fields import unknown_fields
from tidegate.config import RunConfig
from tidegate.records import Traffic
from tidegate.rollout.inference_service import (
    PLACEHOLDER,
    build_inference_service,
    build_spec,
    version_of,
)

GOLDEN = Path(__file__).parent / "inference_service"
MANIFESTS = Path(__file__).parents[2] / "manifests" / "components"
OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
MODES = ("Standard", "Knative")


def config(name="comments", **sections):
    data = {"source": "c.parquet", "text": "body", "label": "y"}
    return RunConfig.model_validate({"name": name, "data": data, **sections})


FULL = config(
    cluster={
        "service": {
            "image": "registry.example/tidegate/serving@sha256:" + "0" * 64,
            "models": "s3://bucket/models/",
            "min_replicas": 4,
            "max_replicas": 12,
            "cpu": 1.5,
            "memory_gib": 1.5,
            "memory_limit_gib": 3,
            "payload_receiver": "http://tidegate-payload-log.tidegate.svc:8080",
            "secret": "tidegate-exploration",
        }
    },
    serving={"max_rows": 64, "exploration": {"allow_share": 0.01}},
)
LOGGED = config(
    cluster={"namespace": "moderation", "service": {"payload_receiver": "component"}},
    serving={"payload_log": {"uri": "/workspace/payload"}},
)

CASES = {
    "standard_baseline": (config(), "Standard", Traffic(baseline=OLD), {}),
    "standard_shadow": (config(), "Standard", Traffic(baseline=OLD, candidate=NEW), {}),
    "standard_canary": (
        FULL,
        "Standard",
        Traffic(baseline=OLD, candidate=NEW, candidate_percent=30),
        {"slot": "blue", "candidate_slot": "green"},
    ),
    "standard_logged": (LOGGED, "Standard", Traffic(baseline=OLD), {}),
    "knative_shadow": (config(), "Knative", Traffic(baseline=OLD, candidate=NEW), {}),
    "knative_canary": (
        FULL,
        "Knative",
        Traffic(baseline=OLD, candidate=NEW, candidate_percent=30),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_release_builds_the_document_agreed_on(name):
    settings, mode, traffic, slots = CASES[name]
    built = build_inference_service(settings, traffic, mode, **slots)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(built, sort_keys=False))
    assert built == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", CASES)
def test_kserve_knows_every_field(name, kserve_models):
    settings, mode, traffic, slots = CASES[name]
    built = build_inference_service(settings, traffic, mode, **slots)
    assert unknown_fields(built, "V1beta1InferenceService", kserve_models) == []


@pytest.mark.parametrize("mode", MODES)
def test_the_manifest_is_what_is_built_before_the_first_release(mode):
    path = MANIFESTS / f"kserve-{mode.lower()}" / "inference-service.yaml"
    built = build_inference_service(
        config("moderation"), Traffic(baseline=PLACEHOLDER), mode, stopped=True
    )
    assert built == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("percent", [0, 1, 30, 100])
def test_a_canary_keeps_to_what_kserves_webhook_admits(percent):
    traffic = Traffic(baseline=OLD, candidate=NEW, candidate_percent=percent)
    spec = build_spec(FULL, traffic, "Standard", slot="green")
    [entry] = spec["canary"]
    canary, stable = entry["predictor"], spec["predictor"]
    assert not {"maxReplicas", "scaleMetric", "scaleTarget", "autoScaling"} & canary.keys()
    assert 1 <= canary["minReplicas"] <= stable["minReplicas"]
    assert canary["name"] not in (stable["name"], "", None)
    assert 0 <= entry["trafficPercent"] <= 100


def test_promotion_keeps_the_pods_of_the_candidate():
    traffic = Traffic(baseline=OLD, candidate=NEW, candidate_percent=100)
    [entry] = build_spec(FULL, traffic, "Standard", slot="green")["canary"]
    candidate = entry["predictor"]
    promoted = build_spec(FULL, Traffic(baseline=NEW), "Standard", slot=candidate["name"])
    for field in candidate.keys() - {"minReplicas"}:
        assert promoted["predictor"][field] == candidate[field]


@pytest.mark.parametrize("mode", MODES)
def test_what_the_other_mode_reads_is_taken_away(mode):
    traffic = Traffic(baseline=OLD, candidate=NEW, candidate_percent=5)
    spec = build_spec(config(), traffic, mode)
    if mode == "Standard":
        assert spec["predictor"]["canaryTrafficPercent"] is None
    else:
        assert spec["canary"] is None
        assert spec["predictor"]["canaryTrafficPercent"] == 5


def test_without_a_candidate_the_canary_is_a_raw_null():
    assert build_spec(config(), Traffic(baseline=OLD), "Standard")["canary"] is None
    knative = build_spec(config(), Traffic(baseline=OLD), "Knative")
    assert knative["predictor"]["canaryTrafficPercent"] is None


def test_the_server_reads_its_settings_from_its_arguments(monkeypatch):
    from tidegate.serving import __main__ as command

    asked = {}
    monkeypatch.setattr(command, "serve", lambda bundle, **given: asked.update(given))
    for settings in (config(), FULL):
        [container] = build_spec(settings, Traffic(baseline=OLD), "Standard")["predictor"][
            "containers"
        ]
        assert command.main(container["args"]) == 0
        assert asked["config"] == settings.serving


def test_a_version_is_read_back_from_the_address_of_its_bundle_in_this_store_alone():
    built = build_spec(FULL, Traffic(baseline=OLD), "Standard")["predictor"]
    assert version_of(FULL, built["containers"]) == OLD
    assert version_of(config("other"), built["containers"]) is None


@pytest.mark.parametrize("mode", MODES)
def test_what_the_receiver_keeps_the_server_does_not_keep_again(mode):
    [container] = build_spec(LOGGED, Traffic(baseline=OLD), mode)["predictor"]["containers"]
    assert "--settings" not in container["args"]
    alone = config(serving={"payload_log": {"uri": "s3://bucket/payload"}})
    [container] = build_spec(alone, Traffic(baseline=OLD), mode)["predictor"]["containers"]
    assert "s3://bucket/payload" in container["args"][-1]


@pytest.mark.parametrize("mode", MODES)
def test_the_logger_posts_to_the_service_of_the_manifests(mode):
    service = yaml.safe_load((MANIFESTS / "log-receiver" / "service.yaml").read_text())
    logger = build_spec(LOGGED, Traffic(baseline=OLD), mode)["predictor"]["logger"]
    name = service["metadata"]["name"]
    assert logger == {"mode": "all", "url": f"http://{name}.moderation.svc.cluster.local/"}
    assert [port["port"] for port in service["spec"]["ports"]] == [80]


def test_a_receiver_that_is_no_address_is_refused():
    with pytest.raises(ValueError, match="payload_receiver: component"):
        config(cluster={"service": {"payload_receiver": "log-receiver:8080"}})
