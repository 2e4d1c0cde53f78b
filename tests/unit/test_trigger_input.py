"""What `tidegate trigger` is given by hand or finds broken, and what it does then."""

import json
import sys

import pandas as pd
import pytest
import yaml

from pipelines import cli
from tidegate.monitoring import trigger_store
from tidegate.monitoring.recurring import calm_causes
from tidegate.monitoring.trigger_store import FileStore
from tidegate.records import (
    Diagnosis,
    MonitorState,
    Signal,
    TriggerState,
    WindowCheck,
)
from tidegate.store import write_record

NOTICED = Signal(model="comments", window="2026-01-04", cause="unclear", says="it moved")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    configure(tmp_path)
    return tmp_path


def configure(folder, **sections):
    data = {"source": "posts.parquet", "text": "text", "label": "label"}
    (folder / "c.yaml").write_text(yaml.safe_dump({"name": "comments", "data": data, **sections}))


@pytest.fixture
def trigger(place, monkeypatch, capsys):
    """Run the command; return its exit code, its output and its error, a line at most."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tidegate", "trigger", "c.yaml", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


def state_of(place):
    return FileStore(place / "runs" / ".tidegate" / "triggers" / "comments.json")


def signals(place, *noticed):
    path = place / "signals.json"
    path.write_text(json.dumps([signal.model_dump(mode="json") for signal in noticed]))
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no signals.json"),
        ("", "signals.json holds no signals"),
        ("{", "signals.json holds no signals"),
        ("3", "signals.json holds no signals"),
        ('[{"model": "comments"}]', "signals.json holds no signals"),
    ],
)
def test_signals_that_are_absent_empty_or_none_are_refused_and_nothing_is_kept(
    place, trigger, content, told
):
    if content is not None:
        (place / "signals.json").write_text(content)
    code, _, said = trigger("--signals", "signals.json")
    assert code == 2
    assert told in said
    assert len(said.splitlines()) == 1
    assert state_of(place).read() == (None, None)


def test_a_monitor_that_noticed_nothing_asks_for_nothing(place, trigger):
    assert trigger("--signals", signals(place)) == (0, "nothing was noticed\n", "")


@pytest.mark.parametrize("look", ["--log", "--status"])
def test_who_only_looks_asks_for_nothing(place, trigger, look):
    code, _, said = trigger(look, "--retrain", "light")
    assert code == 2
    assert "only looks" in said
    assert state_of(place).read() == (None, None)


def test_the_log_of_a_trigger_that_never_acted_says_so(trigger):
    assert trigger("--log") == (0, "nothing was asked for yet\n", "")


def test_the_log_says_what_was_asked_for_and_why(place, trigger):
    trigger("--signals", signals(place, NOTICED))
    code, said, _ = trigger("--log")
    assert code == 0
    assert said.rstrip().endswith("page for unclear: it moved")
    assert len(said.splitlines()) == 1


def test_a_webhook_that_fails_stops_nothing_and_is_said_until_it_answers(
    place, trigger, monkeypatch
):
    monkeypatch.setattr(trigger_store, "_PAUSES", ())
    configure(place, monitor={"trigger": {"webhook": "http://127.0.0.1:9/"}})
    for _ in range(2):
        code, _, said = trigger("--signals", signals(place, NOTICED))
        assert code == 0
        assert "warning: nobody took the page page-comments-" in said
    posted = []
    monkeypatch.setattr("pipelines.remedies.page", lambda _, about: posted.append(about) or True)
    code, _, said = trigger()
    assert (code, said) == (0, "")
    assert [about.says for about in posted] == ["page for unclear: it moved"]


def test_a_state_that_is_damaged_is_named(place, trigger):
    path = place / "runs" / ".tidegate" / "triggers" / "comments.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    code, _, said = trigger()
    assert code == 2
    assert "comments.json: holds no state of a trigger" in said


def test_a_threshold_for_a_model_that_was_never_released_is_refused_and_stays_due(place, trigger):
    moved = NOTICED.model_copy(update={"cause": "prior_shift"})
    code, _, said = trigger("--signals", signals(place, moved))
    assert code == 2
    assert "no version of 'comments' is in service" in said
    assert state_of(place).read()[0].running.remedy == "threshold_update"
    assert trigger("--signals", signals(place, NOTICED))[:2] == (2, "page for unclear: it moved\n")


def test_enough_new_labels_ask_for_a_refresh_once_and_none_before_they_can_be_read(
    place, trigger, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "pipelines.remedies.ThisMachine.retrain", lambda _, request: asked.append(request)
    )
    watch = {"labels": "labels.csv", "trigger": {"new_labels": 100, "cooldown_hours": 0}}
    configure(place, monitor=watch)
    code, _, said = trigger()
    assert code == 0
    assert "warning: new labels are not counted" in said

    def label(rows):
        ids = [f"r{row}" for row in range(rows)]
        pd.DataFrame({"row_id": ids, "label": 1}).to_csv(place / "labels.csv", index=False)

    label(500)
    trigger()
    label(599)
    trigger()
    assert asked == [], "those of before were there to learn from"
    label(600)
    _, said, _ = trigger()
    assert "100 labels came back since the last retrain (100 are asked for)" in said
    label(650)
    trigger()
    assert {request.causes for request in asked} == {("new_labels",)}
    assert state_of(place).read()[0].labels_learnt == 600


def check(kind, *, since="2026-01-08T00:00:00+00:00", version="v2"):
    return WindowCheck(
        model="comments",
        bundle_version=version,
        since=since,
        until="2026-01-09T00:00:00+00:00",
        scale=1,
        status="tested",
        says="",
        rows=100,
        diagnosis=Diagnosis(kind=kind, says="", evidence=()),
    )


def watched(folder, *checks):
    state = MonitorState(
        bundle_version="v2",
        window_days=1.0,
        begun_at="2026-01-01T00:00:00+00:00",
        done_until="2026-01-09T00:00:00+00:00",
        history=checks,
    )
    write_record(folder / "state.json", state)


@pytest.mark.parametrize(
    ("checks", "calm"),
    [
        ([check("none")], ("covariate_shift", "concept_drift")),
        ([check("none"), check("concept_drift")], ("covariate_shift",)),
        ([check("none", since="2026-01-04T00:00:00+00:00")], ()),
        ([check("none", version="v1")], ()),
        ([], ()),
    ],
)
def test_a_cause_is_over_when_a_whole_window_after_the_retrain_does_not_show_it(
    tmp_path, checks, calm
):
    counted = ("covariate_shift", "concept_drift")
    assert calm_causes(tmp_path, counted, None) == ()
    watched(tmp_path, *checks)
    assert calm_causes(tmp_path, counted, "2026-01-05T00:00:00+00:00") == calm


def test_retrains_of_long_ago_do_not_turn_a_new_alarm_into_a_page(place, trigger, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pipelines.remedies.ThisMachine.retrain", lambda _, request: asked.append(request)
    )
    counted = TriggerState(
        model="comments",
        in_a_row={"covariate_shift": 2},
        last_retrain_at="2026-01-05T00:00:00+00:00",
    )
    state_of(place).write(counted, revision=None)
    home = place / "workspace" / "monitor" / "comments"
    home.mkdir(parents=True)
    (home / "signals.json").write_text("[]")
    watched(home, check("none"))
    trigger("--workspace", "workspace")
    assert state_of(place).read()[0].in_a_row == {}
    moved = NOTICED.model_copy(update={"cause": "covariate_shift"})
    trigger("--workspace", "workspace", "--signals", signals(home, moved))
    assert [request.remedy for request in asked] == ["light_refresh"]
