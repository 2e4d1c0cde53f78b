import json
import sys

import pytest
from typer.testing import CliRunner

from pipelines import trigger_cli
from pipelines.cli import app
from pipelines.run_record import RunRecord
from pipelines.trigger_cli import launch_here
from tidegate.config import TriggerConfig
from tidegate.errors import BadInput
from tidegate.monitoring.trigger_store import FileStore
from tidegate.records import RemedyRequest, Signal, TriggerState
from tidegate.store import write_record


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(
        "name: comments\ndata: {source: posts.parquet, id: id, text: text, label: label}\n"
    )
    return path


def finished(out, decision="promote"):
    record = RunRecord(
        name="comments",
        status="done",
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

    def __init__(self, folder, decision="promote"):
        self.commands, self.folder, self.decision = [], folder, decision

    def __call__(self, command):
        self.commands.append(command)
        finished(self.folder / command[command.index("--out") + 1], self.decision)
        return 0


def test_a_request_runs_once_under_its_own_name(config, tmp_path):
    store, runs = FileStore(tmp_path / "state.json"), Runs(tmp_path)
    store.write(TriggerState(model="comments", running=request()), revision=None)
    act = launch_here(config, store, TriggerConfig(), runs)
    act(request())
    act(request())
    assert len(runs.commands) == 1
    command = runs.commands[0]
    assert command[:5] == [sys.executable, "-m", "pipelines.cli", "run", str(config)]
    assert "search.trials=2" in command
    assert store.read()[0].running is None


def test_a_full_retrain_keeps_the_configured_search(config, tmp_path):
    store, runs = FileStore(tmp_path / "state.json"), Runs(tmp_path, decision="hold")
    launch_here(config, store, TriggerConfig(), runs)(request("full_retrain"))
    assert "--set" not in runs.commands[0]


def test_a_persons_request_is_acted_on_and_remembered(config, tmp_path, monkeypatch):
    runs = Runs(tmp_path)
    real = launch_here
    monkeypatch.setattr(trigger_cli, "launch_here", lambda *given: real(*given, runs))
    done = CliRunner().invoke(app, ["trigger", str(config), "--retrain", "full", "--why", "audit"])
    assert done.exit_code == 0, done.output
    assert "full_retrain for hand: audit" in done.output
    looked = CliRunner().invoke(app, ["trigger", str(config), "--status"])
    state = json.loads(looked.output)
    assert state["running"] is None
    assert state["last_retrain_at"] is not None
    assert len(runs.commands) == 1


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
