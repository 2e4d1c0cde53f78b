import json
import sys
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from pipelines import remedies as remedies_module
from pipelines import trigger_cli
from pipelines.cli import app
from pipelines.remedies import Remedies, ThisMachine
from pipelines.run_record import RunRecord
from tidegate.config import load_config
from tidegate.errors import BadInput
from tidegate.evaluation.history import add_to_history
from tidegate.monitoring.trigger_store import FileStore
from tidegate.records import PastEvaluation, RemedyRequest, Signal, TriggerState
from tidegate.store import write_record


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(
        "name: comments\ndata: {source: posts.parquet, id: id, text: text, label: label}\n"
    )
    return path


NOW = datetime(2026, 1, 5, tzinfo=UTC)


def finished(out, decision="promote", status="done"):
    record = RunRecord(
        name="comments",
        status=status,
        error=None if status == "done" else "the disk is full",
        started_at="2026-01-05T00:00:00+00:00",
        run_digest="d",
        config={},
        digests={},
        versions={},
        steps=(),
        decision=decision,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_record(out / "run.json", record)


def request(remedy="light_refresh"):
    return RemedyRequest(
        name="retrain-comments-1",
        model="comments",
        window="2026-01-04",
        remedy=remedy,
        causes=("covariate_shift",),
        says="it moved",
        asked_at="2026-01-05T00:00:00+00:00",
    )


class Runs:
    """Runs that end as they are told to."""

    def __init__(self, folder, decision="promote", status="done"):
        self.commands, self.folder, self.decision, self.status = [], folder, decision, status

    def __call__(self, command):
        self.commands.append(command)
        finished(self.folder / command[command.index("--out") + 1], self.decision, self.status)


@pytest.fixture
def acting(config, tmp_path):
    """A trigger on this machine whose runs are `runs`, and what it remembers."""

    def begin(runs, asked=None, **sections):
        settings = load_config(config)
        settings = settings.model_copy(
            update={
                key: getattr(settings, key).model_validate(value) for key, value in sections.items()
            }
        )
        store = FileStore(tmp_path / "state.json")
        store.write(TriggerState(model="comments", running=asked), revision=None)
        place = ThisMachine(config, settings, runs)
        return Remedies(settings, store, place, lambda: NOW), store

    return begin


def test_a_request_runs_once_under_its_own_name(acting, config, tmp_path):
    runs = Runs(tmp_path)
    remedies, store = acting(runs, request())
    remedies(request())
    remedies(request())
    assert len(runs.commands) == 1
    command = runs.commands[0]
    assert command[:5] == [sys.executable, "-m", "pipelines.cli", "run", str(config)]
    assert "search.refresh=true" in command
    state = store.read()[0]
    assert state.running is None
    assert [line.says for line in state.log] == [
        "it moved",
        "ended: decision promote in runs/retrain-comments-1",
    ]


def test_a_full_retrain_keeps_the_configured_search(acting, tmp_path):
    runs = Runs(tmp_path, decision="hold")
    acting(runs)[0](request("full_retrain"))
    assert "--set" not in runs.commands[0]


def test_a_retrain_learns_from_recent_rows_and_a_memory_of_the_past(acting, config, tmp_path):
    timed = {"source": "posts.parquet", "label": "label", "time": "at"}
    strata = {"trigger": {"memory_share": 0.25, "recent_days": 7, "memory_strata": ["place"]}}
    for name, remedy, changes in (("1", "light_refresh", 2), ("2", "full_retrain", 1)):
        runs = Runs(tmp_path)
        (tmp_path / "state.json").unlink(missing_ok=True)
        asked = request(remedy).model_copy(update={"name": name})
        acting(runs, data=timed, monitor=strata)[0](asked)
        given = [word for word in runs.commands[0] if "=" in word]
        assert len(given) == changes
        text = "name: comments\ndata: {source: p.parquet, label: y, time: at}\n"
        config.write_text(text)
        mix = load_config(config, given).data.mix
        assert (mix.recent_days, mix.memory_share, mix.strata) == (7, 0.25, ("place",))


def test_a_run_that_another_process_runs_is_left_to_it(acting, tmp_path):
    inside = []

    def run(command):
        again, _ = remedies, inside.append(command)
        if len(inside) == 1:
            again(request())
            assert store.read()[0].running == request()
        finished(tmp_path / command[command.index("--out") + 1])

    remedies, store = acting(run, request())
    remedies(request())
    assert len(inside) == 1
    assert store.read()[0].running is None


def test_a_run_that_fails_ends_and_pages_somebody(acting, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(remedies_module, "page", lambda hook, about: told.append(about) or True)
    remedies, store = acting(Runs(tmp_path, status="failed"), request())
    remedies.go_on()
    assert store.read()[0].running is None
    assert [page.name for page in told] == ["page-retrain-comments-1"]
    assert "failed: the disk is full" in told[0].says


def test_under_manual_approval_the_old_model_still_serves_after_a_promotion(acting, tmp_path):
    waiting = Signal(model="comments", window="w", cause="covariate_shift", says="moved")
    for approval, kept in (("manual", (waiting,)), ("auto", ())):
        (tmp_path / "state.json").unlink(missing_ok=True)
        remedies, store = acting(Runs(tmp_path), request(), rollout={"approval": approval})
        state, revision = store.read()
        store.write(state.model_copy(update={"waiting": (waiting,)}), revision=revision)
        remedies(request())
        assert store.read()[0].waiting == kept


def test_a_page_that_nobody_takes_is_sent_again_with_the_next_call(acting, tmp_path, monkeypatch):
    told, answers = [], [False, True]

    def page(hook, about):
        told.append(about.name)
        return answers[len(told) - 1]

    monkeypatch.setattr(remedies_module, "page", page)
    hook = {"trigger": {"webhook": "http://127.0.0.1:9/"}}
    remedies, store = acting(Runs(tmp_path), monitor=hook)
    about = request().model_copy(update={"remedy": "page", "name": "page-1"})
    remedies(about)
    assert store.read()[0].unsent == (about,)
    remedies.go_on()
    remedies.go_on()
    assert told == ["page-1", "page-1"]
    assert store.read()[0].unsent == ()


def past(number, average_precision):
    return PastEvaluation(
        run_digest=f"run-{number}",
        evaluated_at="2026-01-05T00:00:00+00:00",
        algorithm="logistic",
        holdout_digest="same",
        decision="promote",
        average_precision=average_precision,
    )


def test_quality_that_slips_over_retrains_pages_somebody_once(acting, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(remedies_module, "page", lambda hook, about: told.append(about) or True)
    home = tmp_path / "runs" / ".tidegate" / "models" / "comments"
    for number, value in enumerate([0.9, 0.88, 0.86, 0.84, 0.82]):
        add_to_history(home, past(number, value))
    remedies, store = acting(Runs(tmp_path), request())
    remedies(request())
    remedies(request())
    assert [page.causes for page in told] == [("slipping_quality",)]
    assert "fell from 0.900 to 0.820" in told[0].says
    assert store.read()[0].running is None


def test_a_persons_request_is_acted_on_and_logged(config, tmp_path, monkeypatch):
    runs = Runs(tmp_path)
    monkeypatch.setattr(
        trigger_cli, "this_machine", lambda path, settings: ThisMachine(path, settings, runs)
    )
    done = CliRunner().invoke(app, ["trigger", str(config), "--retrain", "full", "--why", "audit"])
    assert done.exit_code == 0, done.output
    assert "full_retrain for hand: audit" in done.output
    assert "ended: decision promote" in done.output
    state = json.loads(CliRunner().invoke(app, ["trigger", str(config), "--status"]).output)
    assert state["running"] is None
    assert state["last_retrain_at"] is not None
    assert len(runs.commands) == 1
    log = CliRunner().invoke(app, ["trigger", str(config), "--log"]).output.splitlines()
    assert [line.split("  ")[2] for line in log] == [
        "full_retrain for hand: audit",
        f"ended: decision promote in runs/{log[0].split('  ')[1]}",
    ]


def test_with_nothing_noticed_nothing_runs(config):
    done = CliRunner().invoke(app, ["trigger", str(config)])
    assert "nothing was noticed" in done.output


def test_what_a_monitor_noticed_is_acted_on_once(config, tmp_path):
    noticed = Signal(model="comments", window="2026-01-04", cause="unclear", says="it moved")
    path = tmp_path / "signals.json"
    path.write_text(json.dumps([noticed.model_dump(mode="json")]))
    words = ["trigger", str(config), "--signals", str(path)]
    first, second = (CliRunner().invoke(app, words).output for _ in range(2))
    assert "page for unclear: it moved" in first
    assert "nothing was noticed that was not acted on already" in second


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "holds no signals"),
        (
            json.dumps([{"model": "ads", "window": "w", "cause": "hand", "says": "s"}]),
            "is about ads, not comments",
        ),
    ],
)
def test_signals_that_cannot_be_read_or_are_anothers_are_refused(config, tmp_path, text, told):
    (tmp_path / "signals.json").write_text(text)
    words = ["trigger", str(config), "--signals", str(tmp_path / "signals.json")]
    with pytest.raises(BadInput, match=told):
        CliRunner().invoke(app, words, catch_exceptions=False)
