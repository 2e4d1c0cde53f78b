"""Approval by a person: what counts as one, and all that does not."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import cli
from tests.unit.test_model_store import build
from tidegate.errors import BadInput
from tidegate.records import ApprovalRequest, Release
from tidegate.rollout.approval import (
    APPROVAL,
    REQUEST,
    check_approval,
    new_private_key,
    public_key_of,
    read_request,
    release_approved,
    release_or_ask,
    request_folder,
    sign_approval,
)
from tidegate.rollout.model_store import ModelStore
from tidegate.store import write_record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "d" * 64


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: new_private_key(folder / f"{name}.pem") for name in ("ada", "eve")}


@pytest.fixture
def approvers(keys):
    return {"ada": public_key_of(keys["ada"])}


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def asked(tmp_path, store):
    """A run that ended with promote and waits, and its folder in the store."""
    bundle = build(tmp_path / "built", "weights")
    request = release_or_ask(store, bundle, run_digest=RUN, approval="manual")
    assert isinstance(request, ApprovalRequest)
    return request, request_folder(store, request.name, RUN)


REQUESTED = ApprovalRequest(
    name="toy", run_digest=RUN, candidate="v1", decision="promote",
    requested_at=NOW.isoformat(), bundle_digest="b" * 64,
)  # fmt: skip


def signed(request, keys, by="ada", key="ada", now=NOW):
    return sign_approval(request, by=by, reason="the gaps are small", key=keys[key], now=now)


def test_a_manual_run_keeps_its_bundle_and_puts_nothing_in_service(asked, store):
    request, folder = asked
    assert store.current("toy") is None
    assert store.versions("toy") == (request.candidate,)
    assert read_request(folder) == request
    assert request.run_digest == RUN


def test_an_automatic_run_releases(tmp_path, store):
    bundle = build(tmp_path / "built", "weights")
    assert isinstance(release_or_ask(store, bundle, run_digest=RUN, approval="auto"), Release)


def test_what_is_not_auto_wants_an_approval(tmp_path, store):
    bundle = build(tmp_path / "built", "weights")
    release_or_ask(store, bundle, run_digest=RUN, approval="Auto")
    assert store.current("toy") is None


def test_an_unchanged_run_asks_the_same_question_again(tmp_path, asked, store):
    request, _ = asked
    again = release_or_ask(store, tmp_path / "built" / "bundle", run_digest=RUN, approval="manual")
    assert again == request


def test_an_approved_candidate_is_put_in_service_and_says_who_did_it(asked, store, keys, approvers):
    request, folder = asked
    write_record(folder / APPROVAL, signed(request, keys))
    release, approval = release_approved(store, folder, approvers)
    assert (release.version, release.run_digest) == (request.candidate, RUN)
    assert (approval.by, approval.reason) == ("ada", "the gaps are small")
    assert release_approved(store, folder, approvers)[0] == release


def test_without_an_approval_nothing_is_released(asked, store, approvers):
    with pytest.raises(BadInput, match="nobody approved"):
        release_approved(store, asked[1], approvers)
    assert store.current("toy") is None


def test_an_unknown_approver_is_refused(keys, approvers):
    with pytest.raises(BadInput, match=r"'eve' is no approver; rollout\.approvers names ada"):
        check_approval(signed(REQUESTED, keys, by="eve", key="eve"), REQUESTED, approvers)


def test_anothers_key_is_refused(keys, approvers):
    with pytest.raises(BadInput, match="not signed like this with the key of ada"):
        check_approval(signed(REQUESTED, keys, key="eve"), REQUESTED, approvers)


@pytest.mark.parametrize("field", ["name", "run_digest", "candidate", "decision", "bundle_digest"])
def test_an_approval_of_anything_else_is_refused(keys, approvers, field):
    other = REQUESTED.model_copy(update={field: "another"})
    with pytest.raises(BadInput, match=f"approves {field}"):
        check_approval(signed(other, keys), REQUESTED, approvers)


@settings(max_examples=25, deadline=None)
@given(
    field=st.sampled_from(["by", "reason", "approved_at", "signature", "request"]),
    text=st.text(min_size=1, max_size=20),
)
def test_a_record_that_was_altered_anywhere_is_refused(keys, field, text):
    approvers = {"ada": public_key_of(keys["ada"]), text: public_key_of(keys["ada"])}
    approval = signed(REQUESTED, keys)
    request = REQUESTED
    if field == "request":
        # Whoever alters the approval may alter the question beside it too.
        request = REQUESTED.model_copy(update={"candidate": f"v1{text}"})
        altered = approval.model_copy(update={"request": request})
    else:
        altered = approval.model_copy(update={field: getattr(approval, field) + text})
        approvers[altered.by] = approvers["ada"]
    with pytest.raises(BadInput):
        check_approval(altered, request, approvers)


def test_a_bundle_that_changed_after_the_approval_is_refused(asked, store, keys, approvers):
    request, folder = asked
    write_record(folder / APPROVAL, signed(request, keys))
    kept = store.folder_of("toy") / "versions" / request.candidate
    manifest = json.loads((kept / "bundle.json").read_text())
    (kept / "bundle.json").write_text(json.dumps({**manifest, "name": "toys"}))
    with pytest.raises(BadInput, match="is not the bundle that was approved"):
        release_approved(store, folder, approvers)
    (kept / "model" / "weights.txt").write_text("other weights")
    with pytest.raises(BadInput):
        release_approved(store, folder, approvers)
    assert store.current("toy") is None


def test_an_approval_is_good_for_one_time_in_service(tmp_path, asked, store, keys, approvers):
    request, folder = asked
    write_record(folder / APPROVAL, signed(request, keys))
    release_approved(store, folder, approvers)
    store.release(build(tmp_path / "next", "other weights"), run_digest="e" * 64)
    with pytest.raises(BadInput, match="taken out again"):
        release_approved(store, folder, approvers)
    write_record(folder / APPROVAL, signed(request, keys, now=datetime.now(UTC).replace(year=2100)))
    assert release_approved(store, folder, approvers)[0].version == request.candidate


@pytest.mark.parametrize("pem", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\n\n"])
def test_a_key_that_is_none_is_refused(pem):
    with pytest.raises(BadInput, match="--key"):
        sign_approval(REQUESTED, by="ada", reason="x", key=pem)


def test_a_public_key_that_is_none_is_refused(keys):
    with pytest.raises(BadInput, match=r"rollout.approvers.ada: is no ed25519"):
        check_approval(signed(REQUESTED, keys), REQUESTED, {"ada": "bm90IGEga2V5"})


@pytest.fixture
def tidegate(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


def test_the_whole_way_on_the_command_line(tmp_path, asked, store, tidegate):
    request, folder = asked
    key = tmp_path / "ada.pem"
    code, line = tidegate("approver", "ada", "--key", key)
    assert (code, key.stat().st_mode & 0o777) == (0, 0o600)
    config = tmp_path / "c.yaml"
    data = {"source": "c.parquet", "text": "body", "label": "y"}
    config.write_text(yaml.safe_dump({"name": "toy", "data": data, **yaml.safe_load(line)}))
    assert tidegate("approver", "ada", "--key", key)[1] == line
    code, said = tidegate("release", folder, "--config", config)
    assert (code, "nobody approved" in said) == (2, True)
    words = ("approve", folder, "--by", "ada", "--reason", "small gaps", "--key", key)
    assert tidegate(*words)[0] == 0
    code, said = tidegate(*words)
    assert (code, "is approved already" in said) == (2, True)
    code, said = tidegate("release", folder, "--config", config)
    assert (code, f"{request.candidate} is in service, approved by ada" in said) == (0, True)
    assert store.current("toy").version == request.candidate


def test_a_folder_that_asks_for_nothing_is_named(tmp_path, tidegate):
    words = ("--by", "ada", "--reason", "x", "--key", tmp_path / "key")
    code, said = tidegate("approve", tmp_path, *words)
    assert (code, "asks for no approval" in said) == (2, True)
    Path(tmp_path / REQUEST).write_text("{}")
    code, said = tidegate("approve", tmp_path, *words)
    assert (code, "is no approval request" in said) == (2, True)
