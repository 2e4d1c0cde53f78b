"""The TrainJob of a trial on several nodes, beside the document agreed on.

``UPDATE_GOLDEN=1 python -m pytest tests/golden`` writes the document anew.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tidegate.config import ClusterConfig, Pool, Toleration
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Resources
from tidegate.search.katib import Owner
from tidegate.search.trainer import TrainJobPlan, build_train_job
from tidegate.search.trial import main as trial_main

GOLDEN = Path(__file__).parent / "train_job.yaml"
XGBOOST = algorithm("xgboost")
NET = replace(XGBOOST, name="net", resources=Resources(cpu=4, memory_gib=16.0, gpus=2))


def plan(**changes):
    pool = Pool(node_selector={"gpu": "a100"}, tolerations=(Toleration(key="nvidia.com/gpu"),))
    fields = {
        "search_id": "0123456789abcdef",
        "algorithm": NET,
        "params": NET.defaults,
        "seed": 0,
        "nodes": 2,
        "minutes": 30,
        "cluster": ClusterConfig(object_store_secret="stores", pools={"gpu": pool}),
        "features": "search/one/features",
        "out": "search/one/trials/007",
        "owner": Owner("argoproj.io/v1alpha1", "Workflow", "tidegate-retrain-x7k2p", "uid-7"),
    }
    return TrainJobPlan(**{**fields, **changes})


@pytest.fixture
def job():
    return build_train_job(plan())


def pod_patch(job):
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return node["template"]["spec"]["template"]


def test_the_train_job_is_the_one_agreed_on(job):
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(yaml.safe_dump(job, sort_keys=False))
    assert job == yaml.safe_load(GOLDEN.read_text())


def test_trainers_own_models_take_it_back_unchanged(job):
    models = pytest.importorskip("kubeflow_trainer_api.models")
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


def test_every_node_has_the_algorithms_resources_and_a_process_a_gpu(job):
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 2)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "2"
    assert trainer["image"] == ClusterConfig().gpu_image
    assert build_train_job(plan(algorithm=XGBOOST))["spec"]["trainer"]["numProcPerNode"] == 1


def test_the_pod_security_level_restricted_admits_the_nodes(job):
    spec = pod_patch(job)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["serviceAccountName"] == "tidegate-trial"
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_command_is_one_that_the_trial_understands(capsys):
    words = build_train_job(plan(algorithm=XGBOOST))["spec"]["trainer"]["command"]
    assert words[:3] == ["torchrun", "-m", "tidegate.search.trial"]
    assert all(re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", word) for word in words)
    # A value that is no number: the refusal proves that everything before it was understood.
    assert trial_main([*words[3:-1], "lambda=x"]) == 2
    assert "'x' is not a number" in capsys.readouterr().err


def test_the_name_follows_the_content(job):
    assert job == build_train_job(plan())
    other = build_train_job(plan(params={**NET.defaults, "max_depth": 3}))
    assert other["metadata"]["name"] != job["metadata"]["name"]
    assert len(job["metadata"]["name"]) <= 40
