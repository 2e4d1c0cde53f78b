"""`tidegate schedule`: one recurring run a configuration, made, replaced, paused and deleted."""

import json

import pytest

from tests.cluster.fake_kfp import Fault, only

NIGHTLY = ("--cron", "0 3 * * *")


def test_a_schedule_names_pipeline_and_version_and_fires_by_six_fields(kfp, tidegate, config):
    code, said, _ = tidegate("schedule", config(), *NIGHTLY)
    assert code == 0
    assert "created" in said
    made = only(kfp.recurring)
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert made["pipeline_version_reference"] == {
        "pipeline_id": only(kfp.pipelines)["pipeline_id"],
        "pipeline_version_id": only(kfp.versions)["pipeline_version_id"],
    }
    assert (made["max_concurrency"], made["no_catchup"], made["status"]) == ("1", True, "ENABLED")
    assert json.loads(made["runtime_config"]["parameters"]["config"])["name"] == "posts"


def test_the_same_schedule_again_changes_nothing(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    before = only(kfp.recurring)["recurring_run_id"]
    code, said, _ = tidegate("schedule", config(), *NIGHTLY)
    assert code == 0
    assert "unchanged" in said
    assert only(kfp.recurring)["recurring_run_id"] == before


@pytest.mark.parametrize(
    "changed",
    [
        ("--cron", "30 4 * * mon"),
        (*NIGHTLY, "--concurrency", "2"),
        (*NIGHTLY, "--catch-up"),
        (*NIGHTLY, "--set", "search.minutes=30"),
        (*NIGHTLY, "--set", "cluster.image=r/cpu@sha256:" + "7" * 64),
    ],
)
def test_a_changed_schedule_takes_the_place_of_the_old_one(kfp, tidegate, config, changed):
    tidegate("schedule", config(), *NIGHTLY)
    before = only(kfp.recurring)["recurring_run_id"]
    code, said, _ = tidegate("schedule", config(), *changed)
    assert code == 0
    assert "a new one took its place" in said
    assert only(kfp.recurring)["recurring_run_id"] != before


def test_a_paused_schedule_stays_paused_when_it_is_replaced_until_resumed(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    assert "paused" in tidegate("schedule", config(), "--pause")[1]
    _, said, _ = tidegate("schedule", config(), "--cron", "0 4 * * *")
    assert "but is paused" in said
    assert only(kfp.recurring)["status"] == "DISABLED"
    assert "paused  '0 0 4 * * *'" in tidegate("schedule", config(), "--list")[1]
    assert "resumed" in tidegate("schedule", config(), "--resume")[1]
    assert only(kfp.recurring)["status"] == "ENABLED"


def test_delete_removes_it_and_list_says_so(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    assert "deleted" in tidegate("schedule", config(), "--delete")[1]
    assert kfp.recurring == []
    code, said, _ = tidegate("schedule", config(), "--list")
    assert code == 0
    assert "no schedule" in said


def test_two_configurations_have_a_schedule_each(kfp, tidegate, config):
    for name in ("posts", "ads", "posts"):
        tidegate("schedule", config(name=name), *NIGHTLY)
    assert sorted(item["display_name"] for item in kfp.recurring) == ["ads", "posts"]


WATCHED = {"serving": {"payload_log": {"uri": "s3://b/log"}}, "monitor": {"engine": "open"}}


def test_the_monitor_has_a_schedule_of_its_own_beside_the_retrain(kfp, tidegate, config):
    tidegate("schedule", config(**WATCHED), *NIGHTLY)
    hourly = ("--pipeline", "monitor", "--cron", "17 * * * *")
    for what in ("created", "unchanged"):
        assert what in tidegate("schedule", config(**WATCHED), *hourly)[1]
    assert sorted(item["display_name"] for item in kfp.recurring) == ["posts", "posts-monitor"]
    assert {item["display_name"] for item in kfp.pipelines} == {
        "tidegate-retrain",
        "tidegate-monitor",
    }
    made = next(item for item in kfp.recurring if item["display_name"] == "posts-monitor")
    assert set(made["runtime_config"]["parameters"]) == {
        *("config", "workspace_claim", "cpu", "memory"),
        *("node_selector", "tolerations", "node_affinity"),
    }
    tidegate("schedule", config(**WATCHED), "--pipeline", "monitor", "--delete")
    assert only(kfp.recurring)["display_name"] == "posts"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"monitor": {}}, "monitor.engine"),
        ({"serving": {}}, "no payload log is kept"),
        ({"serving": {"payload_log": {"uri": "log"}}}, "s3://… or a path under /workspace"),
        ({"monitor": {"engine": "open", "labels": "l.parquet"}}, "monitor.labels"),
    ],
)
def test_what_the_monitor_cannot_watch_there_is_refused(kfp, tidegate, config, changes, told):
    words = ("--pipeline", "monitor", *NIGHTLY)
    assert told in tidegate.refused("schedule", config(**{**WATCHED, **changes}), *words)
    assert kfp.requests == []


# --- refused before anything is sent -----------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "named"),
    [
        ("61 3 * * *", "minute"),
        ("0 25 * * *", "hour"),
        ("0 3 32 * *", "day of month"),
        ("0 3 * 13 *", "month"),
        ("0 3 * * 8", "day of week"),
        ("0 3 * *", "five fields"),
        ("0 0 3 * * *", "five fields"),
    ],
)
def test_a_bad_cron_is_refused_by_the_name_of_its_field(kfp, tidegate, config, cron, named):
    assert named in tidegate.refused("schedule", config(), "--cron", cron)
    assert kfp.requests == []


@pytest.mark.parametrize("concurrency", ["0", "11"])
def test_concurrency_is_one_to_ten(kfp, tidegate, config, concurrency):
    said = tidegate.refused("schedule", config(), *NIGHTLY, "--concurrency", concurrency)
    assert "must be 1 to 10" in said
    assert kfp.requests == []


@pytest.mark.parametrize("words", [(), (*NIGHTLY, "--pause"), ("--pause", "--resume")])
def test_one_thing_at_a_time(kfp, tidegate, config, words):
    assert "one of --cron" in tidegate.refused("schedule", config(), *words)


@pytest.mark.parametrize("action", ["--pause", "--resume", "--delete"])
def test_what_is_not_there_cannot_be_changed(tidegate, config, action):
    assert "has no schedule" in tidegate.refused("schedule", config(), action)


def test_unpinned_images_and_local_data_are_refused_as_for_a_run(kfp, tidegate, config):
    unpinned = config(cluster={"image": "tidegate/cpu:0.1.0"})
    assert "not pinned" in tidegate.refused("schedule", unpinned, *NIGHTLY)
    local = config(data={"source": "posts.parquet", "text": "body", "label": "violating"})
    assert "data.source" in tidegate.refused("schedule", local, *NIGHTLY)
    assert kfp.requests == []


# --- faults of the server ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 502, "after": True}])
def test_a_fault_on_the_way_makes_no_second_schedule(kfp, tidegate, config, fault):
    kfp.faults = [Fault("POST", "/recurringruns$", **fault)]
    assert tidegate("schedule", config(), *NIGHTLY)[0] == 0
    assert len(kfp.recurring) == 1


def test_a_replacement_that_cannot_be_made_leaves_the_old_schedule(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    before = list(kfp.recurring)
    kfp.faults = [Fault("POST", "/recurringruns$", 500, times=99)]
    tidegate.refused("schedule", config(), "--cron", "0 5 * * *")
    assert kfp.recurring == before


def test_a_replacement_that_was_cut_off_is_finished_by_the_next_call(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    kfp.faults = [Fault("DELETE", "/recurringruns/", 500, times=3)]
    tidegate.refused("schedule", config(), "--cron", "0 5 * * *")
    assert len(kfp.recurring) == 2
    assert tidegate("schedule", config(), "--cron", "0 5 * * *")[0] == 0
    assert only(kfp.recurring)["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * *"


def test_a_deletion_whose_answer_was_lost_is_a_deletion(kfp, tidegate, config):
    tidegate("schedule", config(), *NIGHTLY)
    kfp.faults = [Fault("DELETE", "/recurringruns/", 504, after=True)]
    assert tidegate("schedule", config(), "--delete")[0] == 0
    assert kfp.recurring == []
