"""The images as a pod runs them: built here, read-only, uid 10001, without a network."""

import json
import re
import time

import pandas as pd
import pytest
import yaml

from pipelines.compile import compile_pipeline
from pipelines.run import plan_run
from tests.images.kubeflow_step import Pipeline
from tests.toy_encoder import write_toy_encoder
from tidegate.config import RunConfig
from tidegate.records import DriftReport, EvaluationReport, SearchResult
from tidegate.store import read_record

pytestmark = pytest.mark.timeout(1500)

MAX_MEGABYTES = {"cpu": 1600, "serving": 700, "monitor": 1600}
ALGORITHMS = ("logistic", "xgboost", "knn")
STEPS = ("ingest", "validate", "featurize", "search", "assemble", "evaluate")


@pytest.fixture(scope="module")
def run(podman, images, make_posts, tmp_path_factory):
    """Run the retrain pipeline's steps in the cpu image, and return the folder of artifacts."""
    folder = tmp_path_factory.mktemp("workspace")
    folder.chmod(0o777)  # another user writes here, as on a claim
    encoder = folder / "encoder"
    encoder.mkdir()
    write_toy_encoder(encoder)
    for file in encoder.iterdir():
        file.chmod(0o644)  # safetensors writes for its own user alone
    make_posts(600, prevalence=0.4).to_parquet(folder / "posts.parquet")
    config = RunConfig.model_validate(
        {
            "name": "posts",
            "data": {
                "source": str(folder / "posts.parquet"),
                "id": "post",
                "text": "body",
                "label": "violating",
                "time": "created_at",
                "groups": "dialect",
            },
            "policy": {"min_precision": 0.6, "min_group_rows": 5, "max_fpr_gap": 0.9},
            "features": {"encoder": str(encoder)},
            "search": {
                "algorithms": list(ALGORITHMS),
                "trials": len(ALGORITHMS),
                "minutes": 10,
                "parallel": 1,
            },
        }
    )
    plan = plan_run(config, folder / "out")
    spec = next(yaml.safe_load_all(compile_pipeline("retrain", config.cluster)))
    pipeline = Pipeline(spec, plan.arguments, folder)
    for step in STEPS:
        podman.run(images["cpu"], *pipeline.command(step), mounts=[folder])
    return folder


@pytest.mark.parametrize("role", MAX_MEGABYTES)
def test_an_image_keeps_its_size(podman, images, role):
    size = int(podman("image", "inspect", "--format", "{{.Size}}", images[role]).stdout)
    print(f"{role}: {size / 1e6:.0f} MB")
    assert size / 1e6 <= MAX_MEGABYTES[role]


@pytest.mark.parametrize("role", MAX_MEGABYTES)
def test_an_image_holds_neither_root_nor_tools_to_build_with(podman, images, role):
    look = (
        "id -u; id -g; touch /opt/x 2>/dev/null && echo writable; "
        "for tool in gcc cc make; do command -v $tool; done; "
        "python -c 'import pip' 2>/dev/null && echo pip; "
        "ls -d /root/.cache /tmp/.cache /build 2>/dev/null; true"
    )
    found = podman.run(images[role], "-c", look, options=["--entrypoint", "sh"]).stdout
    assert found.split() == ["10001", "10001"]


@pytest.mark.parametrize("role", MAX_MEGABYTES)
def test_the_bill_of_materials_names_just_what_is_installed(podman, images, role):
    ask = (
        "import importlib.metadata as m; "
        "print(*sorted({d.metadata['Name'] + '==' + d.version for d in m.distributions()}))"
    )
    installed = podman.run(images[role], "-c", ask, options=["--entrypoint", "python"]).stdout
    read = podman.run(images[role], "/opt/tidegate/sbom.json", options=["--entrypoint", "cat"])
    document = json.loads(read.stdout)
    listed = [found for found in document["components"] if found["purl"].startswith("pkg:pypi/")]
    assert document["bomFormat"] == "CycloneDX"
    assert any(found["purl"].startswith("pkg:deb/") for found in document["components"])
    names = [word.split("==") for word in installed.split()]
    assert sorted((found["name"], found["version"]) for found in listed) == sorted(
        (re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in names
    )


@pytest.mark.parametrize("role", MAX_MEGABYTES)
def test_an_image_says_what_it_is(podman, images, role):
    [found] = json.loads(podman("image", "inspect", images[role]).stdout)
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == f"tidegate/{role}"
    assert labels["org.opencontainers.image.version"] == "0.1.0-test"
    assert labels["org.opencontainers.image.base.name"] == podman.environment["BASE"]
    assert found["Config"]["User"] == "10001:10001"


def test_the_steps_of_the_pipeline_run_in_the_cpu_image(run):
    report = read_record(run / "evaluate-evaluation" / "evaluation.json", EvaluationReport)
    assert report.average_precision > 0.6, "the holdout has a prevalence of 0.4"


def test_the_serving_image_scores_what_every_algorithm_of_the_cpu_image_learned(
    podman, images, run
):
    [folder] = run.glob("search-*/search.json")
    trials = read_record(folder, SearchResult).trials
    assert {(trial.algorithm, trial.status) for trial in trials} == {
        (name, "succeeded") for name in ALGORITHMS
    }
    ask = (
        "import json, sys; from pathlib import Path; "
        "from tidegate.models.bundle import load_bundle; "
        "from tidegate.models.catalogue import load_model; "
        "bundle = load_bundle(Path(sys.argv[1])); "
        "X = bundle.featurizer.transform(json.loads(sys.argv[2])); "
        "families = sorted(block.family for block in bundle.featurizer.blocks); "
        "models = [load_model(name, Path(at)) for name, at in json.loads(sys.argv[3])]; "
        "scores = [model.predict_proba(X)[:, -1].tolist() for model in models]; "
        "heavy = [name for name in ('sklearn', 'torch', 'onnx') if name in sys.modules]; "
        "print(json.dumps([families, scores, heavy]))"
    )
    table = {
        "body": ["zapol quxem wixur zapem", "bona karo livi muna"],
        "account_age_days": [9.5, 9.5],
        "surface": ["feed", "feed"],
    }
    models = [
        (trial.algorithm, str(folder.parent / "trials" / f"{trial.number:03d}" / "model"))
        for trial in trials
    ]
    answer = podman.run(
        images["serving"],
        *("-c", ask, run / "evaluate-bundle", json.dumps(table), json.dumps(models)),
        mounts=[run],
        options=["--entrypoint", "python"],
    )
    families, scores, heavy = json.loads(answer.stdout)
    assert families.count("embedding") == 2, "Universal Sentence Encoder and the encoder given"
    assert heavy == []
    for (name, _), (violating, harmless) in zip(models, scores, strict=True):
        assert violating > harmless, name


def test_the_server_scores_the_bundle_and_is_healthy(podman, images, run):
    name = f"tidegate-test-{time.time_ns()}"
    podman(
        *("run", "--detach", "--rm", "--name", name, "--network", "none", "--read-only"),
        *("--tmpfs", "/tmp:rw,mode=1777", "--cap-drop", "all", "--no-healthcheck"),
        *("--volume", f"{run / 'evaluate-bundle'}:/mnt/models:ro", images["serving"]),
    )
    try:
        inspected = json.loads(podman("image", "inspect", images["serving"]).stdout)
        _, *healthcheck = inspected[0]["Healthcheck"]["Test"]
        deadline = time.monotonic() + 90
        while podman("exec", name, *healthcheck, check=False).returncode:
            assert time.monotonic() < deadline, podman("logs", name).stderr[-2000:]
            time.sleep(1)
        ask = (
            "import json, sys, urllib.request as r; "
            "body = json.dumps({'instances': json.loads(sys.argv[1])}).encode(); "
            "head = {'Content-Type': 'application/json'}; "
            "url = 'http://127.0.0.1:8080/v1/models/posts:predict'; "
            "print(r.urlopen(r.Request(url, body, head)).read().decode())"
        )
        rows = [
            {"body": text, "account_age_days": 9.5, "surface": "feed"}
            for text in ("zapol quxem wixur zapem", "bona karo livi muna")
        ]
        answer = json.loads(podman("exec", name, "python", "-c", ask, json.dumps(rows)).stdout)
        violating, harmless = (found["score"] for found in answer["predictions"])
        assert violating > harmless
    finally:
        podman("stop", "--time", "10", name, check=False)


def test_the_drift_check_tells_a_moved_window_from_one_that_did_not(podman, images, run):
    reference = run / "evaluate-bundle" / "drift_reference.parquet"
    frame = pd.read_parquet(reference)
    components = frame.filter(like="component_")
    far = frame.assign(**(components + 3 * components.std()))
    for name, moved in (("same", frame), ("moved", far)):
        moved.to_parquet(run / f"{name}.parquet")
        podman.run(
            images["monitor"],
            *("--reference", reference, "--window", run / f"{name}.parquet"),
            *("--out", run / f"{name}.json", "--bundle-version", "v1"),
            mounts=[run],
        )
        assert read_record(run / f"{name}.json", DriftReport).drifted == (name == "moved")


def test_the_server_can_log_to_an_object_store(podman, images):
    script = (
        "import pyarrow.parquet\n"
        "from tidegate.serving.log_layout import open_log_folder\n"
        "open_log_folder('s3://logs/payload')\n"
        "print('opened')"
    )
    opened = podman.run(
        images["serving"], "-c", script, options=["--entrypoint", "python"], check=False
    )
    assert opened.stdout == "opened\n", opened.stderr[-2000:]
