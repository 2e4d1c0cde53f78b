"""What `tidegate doctor --cluster` finds on a cluster."""

import pytest

from tests.fake_kubernetes import FakeKubernetes
from tests.unit.doctor.clusters import (
    bare,
    config,
    deploy,
    node,
    one,
    serve_group,
    set_kserve,
    statuses,
    whole,
)
from tidegate.doctor.cluster import check_cluster
from tidegate.doctor.rights import PIPELINE_RIGHTS
from tidegate.search.pods import SERVICE_ACCOUNT


def test_a_cluster_that_has_everything_leaves_nothing_but_the_image_to_see(cluster):
    whole(cluster)
    findings = check_cluster(config(search={"backend": "katib"}))
    assert {f.name for f in findings if f.status != "ok"} == {
        "pipelines API",
        "image",
        "image digest",
    }
    assert one(findings, "kubernetes").what.startswith("v1.36.0")
    assert one(findings, "pipelines").what.startswith("2.17.0")
    assert one(findings, "katib").what.startswith("0.19.0")
    assert one(findings, "kserve").what.startswith("0.21.0")
    assert one(findings, "kserve mode").what.startswith("Standard")


def test_whatever_is_not_ok_says_what_to_do(cluster):
    bare(cluster)
    findings = check_cluster(config(search={"backend": "katib"}))
    assert all(finding.mend for finding in findings if finding.status != "ok")


def test_an_empty_cluster_lacks_what_runs_need_and_may_lack_the_rest(cluster):
    bare(cluster)
    found = statuses(check_cluster(config(search={"backend": "katib"})))
    needed = ("pipelines", "katib", "namespace", "service account", "workspace", "storage class")
    assert {found[name] for name in needed} == {"problem"}
    assert {found[name] for name in ("kserve", "gateway API", "prometheus")} == {"warning"}
    assert found["trainer"] == "ok"


@pytest.mark.parametrize(("backend", "status"), [("local", "ok"), ("katib", "problem")])
def test_katib_is_missed_only_by_who_configures_it(cluster, backend, status):
    bare(cluster)
    assert statuses(check_cluster(config(search={"backend": backend})))["katib"] == status
    assert statuses(check_cluster())["katib"] == "warning"


def test_a_user_without_rights_gets_unknowns_that_name_the_missing_right(cluster):
    whole(cluster)
    cluster.forbidden = ("/nodes", "/configmaps", "/deployments", "/namespaces/tidegate")
    cluster.may_impersonate = False
    findings = check_cluster(config(search={"backend": "katib"}))
    unknown = {f.name: f.what for f in findings if f.status == "unknown"}
    assert unknown["nodes"] == "may not get /api/v1/nodes"
    assert unknown["namespace"] == "may not get /api/v1/namespaces/tidegate"
    assert unknown["kserve mode" if "kserve mode" in unknown else "kserve"].endswith(
        "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
    )
    assert unknown["rights"].endswith("/selfsubjectaccessreviews")
    assert "version unknown: may not get" in one(findings, "katib").what
    assert "problem" not in statuses(findings).values()


def test_rights_are_asked_in_the_name_of_the_steps_account(cluster):
    whole(cluster)
    check_cluster(config(search={"backend": "katib"}))
    reviews = [who for _, path, who in cluster.requests if path.endswith("subjectaccessreviews")]
    verbs = [verb for r in PIPELINE_RIGHTS if r.backend in (None, "katib") for verb in r.verbs]
    assert reviews == ["system:serviceaccount:tidegate:tidegate-pipeline"] * len(verbs)


def test_inside_a_pod_of_that_account_nobody_is_impersonated(cluster):
    whole(cluster)
    cluster.user = "system:serviceaccount:tidegate:tidegate-pipeline"
    cluster.may_impersonate = False
    assert one(check_cluster(), "rights").status == "ok"


def test_trials_need_an_account_of_their_own_where_they_have_pods_of_their_own(cluster):
    whole(cluster)
    del cluster.documents[f"/api/v1/namespaces/tidegate/serviceaccounts/{SERVICE_ACCOUNT}"]
    on_katib = check_cluster(config(search={"backend": "katib"}))
    assert one(on_katib, "service account").what == "tidegate-trial not in tidegate"
    assert one(check_cluster(config()), "service account").status == "ok"


def test_every_denied_verb_is_named_with_the_code_that_needs_it(cluster):
    whole(cluster)
    cluster.denied = {("create", "experiments"), ("delete", "experiments"), ("list", "trials")}
    findings = check_cluster(config(search={"backend": "katib"}))
    denied = [f.what for f in findings if f.name == "rights" and f.status == "problem"]
    assert denied == [
        "tidegate-pipeline may not create, delete experiments.kubeflow.org "
        "(tidegate.search.katib_runs, tidegate.search.leftovers)",
        "tidegate-pipeline may not list trials.kubeflow.org (tidegate.search.katib_runs)",
    ]


def test_the_controllers_and_the_triggers_rights_are_asked_for_where_they_are_installed(cluster):
    whole(cluster)
    for account in ("tidegate-release", "tidegate-trigger"):
        path = f"/api/v1/namespaces/tidegate/serviceaccounts/{account}"
        cluster.documents[path] = {"metadata": {}}
    # A cluster in Standard mode has no Role for Knative's objects.
    cluster.denied = {("get", "revisions"), ("create", "runs"), ("patch", "inferenceservices")}
    findings = [f for f in check_cluster(config()) if f.name == "rights"]
    assert [f.what for f in findings if f.status == "problem"] == [
        "tidegate-release may not patch inferenceservices.serving.kserve.io/moderation "
        "(tidegate.rollout.kserve_backend)",
        "tidegate-trigger may not create runs.pipelines.kubeflow.org (pipelines.kfp_api)",
    ]
    assert "manifests/components/trigger has it" in findings[-2].mend
    names = [who for _, path, who in cluster.requests if path.endswith("subjectaccessreviews")]
    assert {who.rpartition(":")[2] for who in names} == {
        "tidegate-pipeline",
        "tidegate-release",
        "tidegate-trigger",
    }


def test_who_may_not_look_at_other_accounts_still_learns_of_the_steps_rights(cluster):
    whole(cluster)
    cluster.forbidden = ("/serviceaccounts/tidegate-release", "/serviceaccounts/tidegate-trigger")
    assert one(check_cluster(config()), "rights").status == "ok"


def test_a_controller_that_may_read_the_objects_of_no_mode_is_told(cluster):
    whole(cluster)
    path = "/api/v1/namespaces/tidegate/serviceaccounts/tidegate-release"
    cluster.documents[path] = {"metadata": {}}
    cluster.denied = {("get", "revisions"), ("get", "httproutes")}
    told = [f.what for f in check_cluster(config()) if f.status == "problem"]
    assert len(told) == 2


@pytest.mark.parametrize(
    ("mode", "gateway", "status"),
    [
        ("Standard", True, "ok"),
        ("RawDeployment", True, "ok"),
        ("Standard", False, "warning"),
        ("Knative", True, "problem"),
        ("Serverless", True, "problem"),
        ("Standrad", True, "problem"),
    ],
)
def test_a_deployment_mode_must_be_one_that_this_cluster_can_run(cluster, mode, gateway, status):
    whole(cluster)
    set_kserve(cluster, mode, gateway=gateway)
    finding = one(check_cluster(), "kserve mode")
    assert finding.status == status
    assert mode in finding.what


def test_knative_mode_is_fine_where_knative_serving_is(cluster):
    whole(cluster)
    set_kserve(cluster, "Knative", gateway=False)
    serve_group(cluster, "serving.knative.dev", "v1", "services")
    assert "canaryTrafficPercent" in one(check_cluster(), "kserve mode").what


def test_an_older_katib_than_tidegate_is_built_for_is_a_warning(cluster):
    whole(cluster)
    deploy(cluster, "kubeflow", "katib-controller", "registry:5000/katib-controller:v0.17.0")
    assert one(check_cluster(), "katib").status == "warning"


def test_a_restricted_namespace_without_the_collector_label_loses_every_metric(cluster):
    whole(cluster)
    labels = cluster.documents["/api/v1/namespaces/tidegate"]["metadata"]["labels"]
    del labels["katib.kubeflow.org/metrics-collector-injection"]
    finding = one(check_cluster(config(search={"backend": "katib"})), "katib label")
    assert finding.status == "problem"
    assert "kubectl label ns tidegate katib.kubeflow.org" in finding.mend
    assert statuses(check_cluster(config()))["katib label"] == "warning"


def test_a_restricted_namespace_needs_the_policy_that_completes_foreign_pods(cluster):
    whole(cluster)
    cluster.documents = {
        path: document
        for path, document in cluster.documents.items()
        if "mutatingadmissionpolicies" not in path
    }
    assert one(check_cluster(), "pod defaults").status == "warning"


def test_the_namespace_of_kubeflow_pipelines_itself_is_not_to_be_restricted(cluster):
    whole(cluster)
    cluster.documents["/api/v1/namespaces/kubeflow"] = {"metadata": {"labels": {}}}
    findings = check_cluster(config(cluster={"namespace": "kubeflow"}))
    assert one(findings, "pod security").status == "ok"
    cluster.documents["/api/v1/namespaces/tidegate"]["metadata"]["labels"] = {}
    assert one(check_cluster(), "pod security").status == "warning"


TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
LABELS = {"nvidia.com/gpu.product": "L4"}


def gpu_finding(cluster, pool):
    return one(check_cluster(config(cluster={"pools": {"gpu": pool}})), "gpu nodes")


def test_gpu_nodes_are_held_against_the_pools_labels_and_tolerations(cluster):
    whole(cluster)
    cluster.documents["/api/v1/nodes"]["items"] += [
        node("g1", labels=LABELS, taints=[TAINT], gpus=4)
    ]
    tolerations = [{"key": "nvidia.com/gpu"}]
    fitting = gpu_finding(cluster, {"node_selector": LABELS, "tolerations": tolerations})
    assert fitting.status == "ok"
    assert "4 nvidia.com/gpu" in fitting.what
    assert "nvidia.com/gpu.product=L4" in fitting.what
    untolerated = gpu_finding(cluster, {"node_selector": LABELS})
    assert "taint nvidia.com/gpu=present:NoSchedule is not tolerated" in untolerated.what
    elsewhere = gpu_finding(
        cluster, {"node_selector": {"nvidia.com/gpu.product": "H100"}, "tolerations": tolerations}
    )
    assert "label nvidia.com/gpu.product is L4, wanted H100" in elsewhere.what
    other = [{"key": "nvidia.com/gpu", "operator": "Equal", "value": "absent"}]
    assert gpu_finding(cluster, {"tolerations": other}).status == "warning"


NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
PRESSED = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}


def test_a_node_that_takes_no_pods_is_told_as_its_condition_not_as_a_pools_fault(cluster):
    whole(cluster)
    cordoned = node("n3")
    cordoned["spec"]["unschedulable"] = True
    nodes = cluster.documents["/api/v1/nodes"]["items"]
    nodes += [node("n2", taints=[NOT_READY]), cordoned, node("n4", taints=[PRESSED])]
    findings = check_cluster()
    told = one(findings, "nodes")
    assert told.status == "warning"
    assert told.what == "2 of 4 take no pods: n2 is not-ready, n3 is cordoned"
    assert "kubectl describe node" in told.mend
    nodes[:] = nodes[1:3]
    finding = one(check_cluster(), "cpu nodes")
    assert (finding.status, finding.what) == ("problem", "no node takes pods")


def test_no_gpu_nodes_are_a_problem_only_for_an_algorithm_that_asks_for_one(cluster, plugin):
    whole(cluster)
    assert one(check_cluster(config()), "gpu nodes").status == "ok"
    plugin(
        "hungry",
        """
        from tidegate.models.interface import Resources
        HUNGRY = replace(LOGISTIC, name="hungry", resources=Resources(gpus=1))
        """,
    )
    findings = check_cluster(config(search={"algorithms": ["hungry"]}))
    assert one(findings, "gpu nodes").status == "problem"


def test_a_pool_that_no_node_fits_is_a_problem(cluster):
    whole(cluster)
    pools = {"cpu": {"node_selector": {"pool": "batch"}, "priority_class": "low"}}
    findings = check_cluster(config(cluster={"pools": pools}))
    assert "label pool is not set, wanted batch" in one(findings, "cpu nodes").what
    assert one(findings, "priority class").status == "problem"


def test_a_quota_that_cannot_hold_one_more_step_is_a_warning(cluster):
    whole(cluster)
    quota = {
        "metadata": {"name": "team"},
        "status": {
            "hard": {"requests.cpu": "8", "requests.memory": "16Gi"},
            "used": {"requests.cpu": "6500m", "requests.memory": "4Gi"},
        },
    }
    path = "/api/v1/namespaces/tidegate/resourcequotas"
    cluster.documents[path] = {"items": [quota]}
    finding = one(check_cluster(), "quota")
    assert finding.status == "warning"
    assert finding.what.endswith("does not fit: requests.cpu")
    quota["status"]["used"]["requests.cpu"] = "6"
    assert one(check_cluster(), "quota").status == "ok"


def test_a_workspace_that_one_node_alone_can_mount_is_a_warning(cluster):
    whole(cluster)
    claim = "/api/v1/namespaces/tidegate/persistentvolumeclaims/tidegate-workspace"
    cluster.documents[claim]["spec"]["accessModes"] = ["ReadWriteOnce"]
    assert one(check_cluster(), "workspace").status == "warning"


def pod(image, **state):
    return {"status": {"containerStatuses": [{"image": image, **state}]}}


def test_pods_tell_whether_an_image_comes(cluster):
    whole(cluster)
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "imageID": ""}
    pods = cluster.documents["/api/v1/namespaces/tidegate/pods"] = {
        "items": [pod("tidegate/cpu:0.1.0", **waiting)]
    }
    assert one(check_cluster(), "image").what == "tidegate/cpu:0.1.0: ImagePullBackOff"
    pods["items"] = [pod("docker.io/tidegate/cpu:0.1.0", imageID="sha256:1", state={})]
    assert one(check_cluster(), "image").status == "ok"


def test_a_broken_answer_is_unknown_and_the_checks_after_it_go_on(cluster):
    whole(cluster)
    cluster.documents["/api/v1/nodes"] = {"items": [{"spec": {}}]}
    findings = check_cluster()
    assert one(findings, "nodes").status == "unknown"
    assert one(findings, "pod security").status == "ok"


def test_the_pipelines_api_is_asked_where_the_configuration_says(cluster, monkeypatch):
    whole(cluster)
    with FakeKubernetes() as pipelines:
        pipelines.tokens = {""}
        pipelines.answer = lambda *_: (200, {"multi_user": True})
        settings = config(cluster={"endpoint": pipelines.address})
        assert one(check_cluster(settings), "pipelines API").what.endswith("multi-user")
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", pipelines.address)
        assert one(check_cluster(config()), "pipelines API").status == "ok"
        pipelines.answer = lambda *_: (200, {"multi_user": False})
        finding = one(check_cluster(settings), "pipelines API")
        assert finding.status == "problem"
        assert "its own namespace, and cluster.namespace is tidegate" in finding.what
        deploy(cluster, "tidegate", "ml-pipeline", "kfp-api-server:2.17.0")
        assert one(check_cluster(settings), "pipelines API").status == "ok"
        pipelines.answer = lambda *_: (302, {})
        assert one(check_cluster(settings), "pipelines API").status == "unknown"
        pipelines.answer = lambda *_: (404, {})
        assert one(check_cluster(settings), "pipelines API").status == "problem"


def test_a_pipeline_step_that_is_the_controller_is_asked_for_its_rights(cluster):
    whole(cluster)
    path = "/api/v1/namespaces/tidegate/serviceaccounts/tidegate-release"
    cluster.documents[path] = {"metadata": {}}
    cluster.denied = {("patch", "inferenceservices")}
    found = check_cluster(config(rollout={"controller": "step"}))
    denied = [f for f in found if f.name == "rights" and f.status == "problem"]
    assert [f.what for f in denied] == [
        "tidegate-pipeline may not patch inferenceservices.serving.kserve.io/moderation "
        "(tidegate.rollout.kserve_backend)"
    ]
    assert "manifests/components/release-step has it" in denied[0].mend
