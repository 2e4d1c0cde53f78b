"""The Experiments built for Katib, beside the documents agreed on.

After a change that is meant, write the documents anew and read their difference:
``UPDATE_GOLDEN=1 python -m pytest tests/golden``.
"""

import math
import os
import re
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kubeflow_katib_api.models import (
    IoK8sApiCoreV1PodTemplateSpec,
    V1beta1Experiment,
)

from tidegate.config import ClusterConfig, Pool, SearchConfig, Toleration
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithm
from tidegate.models.interface import Choice, Resources
from tidegate.search.katib import ExperimentPlan, Owner, build_experiment, shares, to_manifest
from tidegate.search.space import contains, parse_words
from tidegate.search.trial import main as trial_main

GOLDEN = Path(__file__).parent
NAMES = ("logistic", "xgboost")
#: A net on spot nodes with GPUs of its own image, as a third party's algorithm could be.
NET = replace(algorithm("xgboost"), name="net", resources=Resources(cpu=4, memory_gib=16.0, gpus=2))
GPU_POOL = Pool(
    node_selector={"cloud.example/gpu": "a100"},
    tolerations=(
        Toleration(key="nvidia.com/gpu", effect="NoSchedule"),
        Toleration(key="pool", operator="Equal", value="spot"),
    ),
    gpu_resource="nvidia.com/mig-1g.10gb",
    priority_class="tidegate-trial",
    spot=True,
)
VARIANTS = {
    "gpu_spot": {
        "algorithm": NET,
        "cluster": ClusterConfig(object_store_secret="stores", pools={"gpu": GPU_POOL}),
        "owner": Owner("argoproj.io/v1alpha1", "Workflow", "tidegate-retrain-x7k2p", "uid-7"),
    },
    "random": {"search": SearchConfig(strategy="random")},
    "grid": {"search": SearchConfig(strategy="grid")},
    "pbt": {
        "algorithm": replace(NET, resumable=True),
        "search": SearchConfig(strategy="pbt", trials=40),
        "trials": 40,
    },
    "hyperband": {"search": SearchConfig(strategy="hyperband", parallel=4)},
}


def plan(name, **changes):
    fields = {
        "search_id": "0123456789abcdef",
        "algorithm": algorithm(name),
        "trials": 20,
        "search": SearchConfig(trials=41),
        "cluster": ClusterConfig(),
        "features": "search/one/features",
        "folder": "search/one/trials",
    }
    return ExperimentPlan(**{**fields, **changes})


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def manifest(name):
    return to_manifest(build_experiment(plan(name)))


def pod_template(manifest):
    return manifest["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]


def container(manifest):
    return pod_template(manifest)["spec"]["containers"][0]


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def test_the_experiment_is_the_one_agreed_on(name, manifest):
    path = GOLDEN / f"katib_experiment_{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    assert manifest == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variant_is_the_one_agreed_on(variant):
    manifest = to_manifest(build_experiment(plan("xgboost", **VARIANTS[variant])))
    path = GOLDEN / f"katib_experiment_{variant}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    assert manifest == yaml.safe_load(path.read_text())
    assert V1beta1Experiment.from_dict(manifest).to_dict() == manifest


def test_katibs_own_models_take_it_back_unchanged(manifest):
    assert V1beta1Experiment.from_dict(manifest).to_dict() == manifest
    template = pod_template(manifest)
    assert IoK8sApiCoreV1PodTemplateSpec.from_dict(template).to_dict() == template


def test_no_number_is_a_float_or_has_an_exponent(manifest):
    assert not [leaf for leaf in leaves(manifest) if isinstance(leaf, float)]
    exponents = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+")
    assert not [leaf for leaf in leaves(manifest) if exponents.fullmatch(str(leaf))]


def test_no_word_of_the_command_needs_quotes_in_a_shell(manifest):
    words = [
        re.sub(r"\$\{trialParameters\.\w+\}", "0.5", word)
        for word in container(manifest)["command"]
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", word) for word in words)


def test_a_folder_that_needs_quotes_is_refused():
    with pytest.raises(ValueError, match="a folder's name must be"):
        build_experiment(plan("logistic", features="runs/$(date)"))


def test_every_parameter_is_substituted_once_and_reaches_the_trial(name, manifest):
    template = manifest["spec"]["trialTemplate"]
    known = {parameter["name"] for parameter in template["trialParameters"]}
    used = re.findall(r"\$\{trialParameters\.(\w+)\}", " ".join(container(manifest)["command"]))
    assert sorted(used) == sorted(known)
    space = algorithm(name).search_space
    assert [parameter["name"] for parameter in manifest["spec"]["parameters"]] == list(space)
    references = {p["reference"] for p in template["trialParameters"]}
    assert references == {*space, "${trialSpec.Name}"}


def test_the_ends_of_the_feasible_space_are_points_of_the_search_space(name, manifest):
    space = algorithm(name).search_space
    for end, pick in (("min", 0), ("max", -1)):
        words = {
            parameter["name"]: parameter["feasibleSpace"].get(end)
            or parameter["feasibleSpace"]["list"][pick]
            for parameter in manifest["spec"]["parameters"]
        }
        assert contains(space, parse_words(space, words))


def test_the_trials_command_line_is_one_that_the_trial_understands(manifest, capsys):
    words = container(manifest)["command"]
    assert words[:3] == ["python", "-m", "tidegate.search.trial"]
    # Values that are no numbers: the refusal proves that everything before them was understood.
    filled = [re.sub(r"\$\{trialParameters\.\w+\}", "x", word) for word in words[3:]]
    assert trial_main(filled) == 2
    assert "'x'" in capsys.readouterr().err


def test_integers_without_a_logarithm_have_a_step(manifest):
    for parameter in manifest["spec"]["parameters"]:
        space = parameter["feasibleSpace"]
        if parameter["parameterType"] == "int" and space["distribution"] == "uniform":
            assert space["step"] == "1"


def test_the_pod_security_level_restricted_admits_the_trial(manifest):
    pod = pod_template(manifest)["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(manifest)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    kinds = [set(volume) - {"name"} for volume in pod["volumes"]]
    assert kinds == [{"persistentVolumeClaim"}, {"emptyDir"}]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_a_trial_has_the_account_without_rights_and_no_token(manifest):
    pod = pod_template(manifest)["spec"]
    assert pod["serviceAccountName"] == "tidegate-trial"
    assert pod["automountServiceAccountToken"] is False


def test_the_trials_are_shared_out_between_the_algorithms():
    assert shares(41, ["logistic", "xgboost"]) == {"logistic": 21, "xgboost": 20}
    assert shares(1, ["logistic", "xgboost"]) == {"logistic": 1, "xgboost": 0}


def test_trials_with_gpus_get_the_gpu_image_pool_and_count():
    manifest = to_manifest(build_experiment(plan("xgboost", **VARIANTS["gpu_spot"])))
    pod, trial = pod_template(manifest)["spec"], container(manifest)
    assert trial["image"] == ClusterConfig().gpu_image
    assert trial["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "2"
    assert trial["envFrom"] == [{"secretRef": {"name": "stores"}}]
    assert pod["nodeSelector"] == {"cloud.example/gpu": "a100"}
    assert pod["priorityClassName"] == "tidegate-trial"
    assert pod["tolerations"][1] == {"key": "pool", "operator": "Equal", "value": "spot"}


def test_a_trial_is_tried_again_only_when_its_spot_node_went():
    job = to_manifest(build_experiment(plan("xgboost", **VARIANTS["gpu_spot"])))["spec"][
        "trialTemplate"
    ]["trialSpec"]["spec"]
    assert job["backoffLimit"] == 0
    condition = {"type": "DisruptionTarget", "status": "True"}
    rules = [{"action": "Ignore", "onPodConditions": [condition]}]
    assert job["podFailurePolicy"] == {"rules": rules}
    plain = to_manifest(build_experiment(plan("xgboost")))["spec"]["trialTemplate"]["trialSpec"]
    assert "podFailurePolicy" not in plain["spec"]


def test_hyperband_is_the_one_bracket_that_katib_can_carry_out():
    spec = to_manifest(build_experiment(plan("xgboost", **VARIANTS["hyperband"])))["spec"]
    settings = {s["name"]: float(s["value"]) for s in spec["algorithm"]["algorithmSettings"][1:]}
    rungs = int(math.log(settings["r_l"]) / math.log(settings["eta"]))
    assert rungs == 1
    # What Katib's service demands, and how many points it gives: many trials, then one.
    assert spec["parallelTrialCount"] >= math.ceil(settings["eta"] ** rungs)
    assert spec["maxTrialCount"] == spec["parallelTrialCount"] + 1
    assert "earlyStopping" not in spec
    with pytest.raises(BadInput, match="hyperband compares trials side by side"):
        build_experiment(plan("xgboost", search=SearchConfig(strategy="hyperband", parallel=1)))


def test_population_based_training_moves_between_values_that_the_trial_understands():
    manifest = to_manifest(build_experiment(plan("xgboost", **VARIANTS["pbt"])))
    spec = manifest["spec"]
    assert {p["parameterType"] for p in spec["parameters"]} == {"categorical"}
    space = NET.search_space
    for name, dimension in space.items():
        (values,) = [p["feasibleSpace"]["list"] for p in spec["parameters"] if p["name"] == name]
        assert len(values) == len(set(values)) > 1
        read = [parse_words({name: dimension}, {name: value})[name] for value in values]
        assert isinstance(dimension, Choice) or read == sorted(read)
    settings = {s["name"]: s["value"] for s in spec["algorithm"]["algorithmSettings"]}
    command = container(manifest)["command"]
    assert command[command.index("--state") + 1] == settings["suggestion_trial_dir"]
    assert 3 * int(settings["n_population"]) <= spec["maxTrialCount"]
    assert (spec["resumePolicy"], "earlyStopping" in spec) == ("FromVolume", False)


@pytest.mark.parametrize("name", ["net", "an-algorithm-of-many-letters"])
def test_a_trial_of_population_based_training_has_a_name_that_a_label_can_hold(name):
    algorithm = replace(VARIANTS["pbt"]["algorithm"], name=name)
    changes = {**VARIANTS["pbt"], "algorithm": algorithm}
    experiment = to_manifest(build_experiment(plan("xgboost", **changes)))["metadata"]["name"]
    assert len(f"{experiment}-{uuid.uuid4()}") <= 63
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", experiment)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"algorithm": NET}, "net begins anew"), ({"trials": 14}, "generations of 5.*14 trials")],
)
def test_population_based_training_wants_algorithms_that_resume_and_enough_trials(changes, told):
    with pytest.raises(BadInput, match=told):
        build_experiment(plan("xgboost", **{**VARIANTS["pbt"], **changes}))


def test_the_stop_rule_and_the_parallel_trials_are_the_configurations(name):
    search = SearchConfig(parallel=99, seed=5, median_stop_min_trials=2, median_stop_start_step=7)
    spec = to_manifest(build_experiment(plan(name, search=search)))["spec"]
    assert spec["parallelTrialCount"] == spec["maxTrialCount"]
    assert spec["earlyStopping"]["algorithmSettings"] == [
        {"name": "min_trials_required", "value": "2"},
        {"name": "start_step", "value": "7"},
    ]
    assert spec["algorithm"]["algorithmSettings"] == [{"name": "random_state", "value": "5"}]


def test_the_name_follows_the_content(name):
    def named(**changes):
        return to_manifest(build_experiment(plan(name, **changes)))["metadata"]["name"]

    assert named() == named()
    assert named() != named(features="search/two/features")
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", named())
    assert len(named()) <= 40
