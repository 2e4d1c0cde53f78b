"""The commands of a release, on a store in a folder; nothing is served."""

import sys

import pytest
import yaml

from pipelines import cli
from tests.unit.test_model_store import build, version
from tidegate.rollout.approval import (
    new_private_key,
    public_key_of,
    release_or_ask,
    request_approval,
    sign_approval,
)
from tidegate.rollout.handover import hand_over
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.store import write_record


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A configuration, a store with one version in service, and two more bundles."""
    monkeypatch.chdir(tmp_path)
    store = ModelStore(tmp_path / "models")
    bundles = [build(tmp_path / f"b{number}", f"weights {number}") for number in range(3)]
    store.release(bundles[0], run_digest="run-0")
    configure(tmp_path)
    return store, bundles


def configure(folder, **rollout):
    document = {
        "name": "toy",
        "data": {"source": "posts.parquet", "text": "text", "label": "label"},
        "rollout": {"model_store": "models", "steps": [0, 10, 100], **rollout},
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture
def tidegate(monkeypatch, capsys):
    """Run the command line; return its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code or 0
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_a_release_is_begun_held_advanced_and_aborted_by_hand(place, tidegate):
    store, bundles = place
    old, new = version(bundles[0]), version(bundles[1])

    code, said = tidegate("rollout", "start", "toy.yaml", bundles[1], "--by", "pat")
    assert code == 0
    assert said.splitlines() == [
        f"toy: release of {new} begins; {old} serves",
        "steps: shadow, 10 %, 100 %; each at least 900 s",
        "next: tidegate rollout run toy.yaml",
    ]
    reason = ("--by", "kim", "--reason", "press day")
    code, said = tidegate("rollout", "pause", "toy.yaml", *reason)
    assert (code, said) == (0, f"toy: paused; {old} serves, 0 % to the candidate\n")
    code, said = tidegate("rollout", "advance", "toy.yaml", *reason)
    assert (code, said) == (0, f"toy: progressing; {old} serves, 10 % to the candidate\n")
    code, said = tidegate("rollout", "abort", "toy.yaml", *reason)
    assert (code, said) == (0, f"toy: rolled back; {old} serves\n")

    events = LocalBackend(store, "toy").log.read()
    assert [(e.kind, e.actor) for e in events] == [
        ("began", "pat"),
        ("paused", "kim"),
        ("advanced", "kim"),
        ("rolled_back", "kim"),
    ]
    assert store.current("toy").version == old


def test_the_status_tells_a_newcomer_where_it_stands(place, tidegate):
    _, bundles = place
    old, new = version(bundles[0]), version(bundles[1])
    assert tidegate("rollout", "status", "toy.yaml") == (
        0,
        f"toy: no release has begun; {old} serves\n",
    )
    tidegate("rollout", "start", "toy.yaml", bundles[1], "--by", "pat")
    tidegate("rollout", "pause", "toy.yaml", "--by", "kim", "--reason", "press day")
    code, said = tidegate("rollout", "status", "toy.yaml")
    assert code == 0
    for line in (
        "toy: paused",
        f"baseline    {old}, 100 % of the traffic",
        f"candidate   {new}, shadow: replayed requests only",
        "steps       [shadow] > 10 % > 100 %",
        "held by     kim: press day",
    ):
        assert line in said.splitlines()
    assert "what happened" in said


def test_a_whole_way_by_hand_and_back_to_any_kept_version(place, tidegate):
    store, bundles = place
    old, new, other = map(version, bundles)
    store.keep(bundles[2])
    tidegate("rollout", "start", "toy.yaml", bundles[1])
    for _ in range(3):
        code, _ = tidegate("rollout", "advance", "toy.yaml", "--reason", "urgent")
        assert code == 0
    assert store.current("toy").version == new

    code, said = tidegate("rollback", "toy.yaml", "--reason", "complaints")
    assert (code, said) == (0, f"toy: version {old} is in service again\n")
    assert store.current("toy").version == old
    code, said = tidegate("rollback", "toy", "--store", "models", "--to", other)
    assert (code, said) == (0, f"toy: version {other} is in service again\n")
    assert store.current("toy").version == other
    last = LocalBackend(store, "toy").log.read()[-1]
    assert (last.kind, last.says) == ("rolled_back", "returned by hand: not said")


def test_a_store_without_a_release_under_way_is_rolled_back_too(place, tidegate):
    store, bundles = place
    store.release(bundles[1], run_digest="run-1")
    code, said = tidegate("rollback", "toy.yaml")
    assert (code, said) == (0, f"toy: version {version(bundles[0])} is in service again\n")


def test_a_run_that_ends_while_a_release_is_stepped_keeps_its_bundle_and_moves_nothing(
    place, tidegate, caplog
):
    store, bundles = place
    tidegate("rollout", "start", "toy.yaml", bundles[1])
    released = release_or_ask(store, bundles[2], run_digest="run-2", approval="auto")
    assert released.version == store.current("toy").version == version(bundles[0])
    assert version(bundles[2]) in store.versions("toy")
    assert "stays in service" in caplog.text

    tidegate("rollout", "abort", "toy.yaml", "--reason", "enough")
    released = release_or_ask(store, bundles[2], run_digest="run-2", approval="auto")
    assert store.current("toy").version == released.version == version(bundles[2])


def test_a_manual_release_begins_with_a_signed_approval_only(place, tidegate, tmp_path):
    store, bundles = place
    key = new_private_key(tmp_path / "kim.pem")
    configure(tmp_path, approval="manual", approvers={"kim": public_key_of(key)})
    run = tmp_path / "run"
    run.mkdir()
    bundles[1].rename(run / "bundle")
    request = request_approval(store, run / "bundle", run_digest="run-1")
    write_record(run / "approval_request.json", request)

    code, said = tidegate("rollout", "start", "toy.yaml", run)
    assert code == 2
    assert "nobody approved" in said
    assert LocalBackend(store, "toy").read_state() is None

    signed = sign_approval(request, by="kim", reason="read the report", key=key)
    write_record(run / "approval.json", signed)
    code, said = tidegate("rollout", "start", "toy.yaml", run)
    assert code == 0, said
    state, _ = LocalBackend(store, "toy").read_state()
    assert state.phase == "progressing"
    assert [(e.kind, e.actor) for e in state.outbox][1] == ("approved", "kim")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("rollout", "abort", "toy.yaml", "--reason", "x"), "no release has begun"),
        (("rollout", "run", "toy.yaml"), "no release of toy is under way"),
        (("rollout", "start", "toy.yaml", "nowhere"), "holds no bundle"),
        (("rollout", "status", "none.yaml"), "no such configuration file"),
        (("rollback", "toy.yaml"), "no version was in service before"),
        (("rollback", "toy.yaml", "--to", "v9"), "keeps no version 'v9'"),
        (("rollback", "toy", "--cluster"), "does not say which cluster"),
        (("rollback", "../up"), "cannot name a folder"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(place, tidegate, command, says):
    code, said = tidegate(*command)
    assert code == 2
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_second_release_waits_for_the_end_of_the_first(place, tidegate):
    _, bundles = place
    tidegate("rollout", "start", "toy.yaml", bundles[1])
    code, said = tidegate("rollout", "start", "toy.yaml", bundles[2])
    assert code == 2
    assert "is not over" in said
    code, said = tidegate("rollout", "start", "toy.yaml", bundles[0])
    assert code == 2


def test_every_version_is_listed_the_failed_with_its_page(place, tidegate):
    store, bundles = place
    old, failed, waits = map(version, bundles)
    tidegate("rollout", "start", "toy.yaml", bundles[1], "--by", "pat")
    tidegate("rollout", "abort", "toy.yaml", "--by", "kim", "--reason", "appeals")
    store.keep(bundles[2])
    hand_over(store, "toy", waits, run_digest="run-2")
    code, said = tidegate("rollout", "versions", "toy.yaml")
    said = " ".join(said.split())
    assert code == 0
    assert f"{old} in service" in said
    assert f"{failed} failed" in said
    assert "root_cause.html" in said.replace(" ", "")
    assert f"{waits} waits" in said
    assert tidegate("rollback", "toy.yaml", "--to", failed, "--by", "kim", "--reason", "wrong")[
        0
    ] == 0  # fmt: skip
    assert store.current("toy").version == failed
