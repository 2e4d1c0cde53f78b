"""``tidegate rollout … --cluster`` and ``tidegate rollback --cluster``, on the fake Kubernetes."""

import sys

import pytest
import yaml

from pipelines import cli
from tests.unit.test_model_store import build, version
from tidegate.config import load_config
from tidegate.rollout import kserve_backend
from tidegate.rollout.release_log import ReleaseLog


@pytest.fixture
def place(cluster, tmp_path, monkeypatch, capsys):
    """A store with three versions, the second in service here and there, and the command line."""
    monkeypatch.chdir(tmp_path)
    document = {
        "name": "comments",
        "data": {"source": "c.parquet", "text": "body", "label": "y"},
        "rollout": {"model_store": str(tmp_path), "steps": [0, 50, 100]},
    }
    (tmp_path / "comments.yaml").write_text(yaml.safe_dump(document))
    bundles = [build(tmp_path / f"b{n}", f"weights {n}", name="comments") for n in range(3)]
    first, second, third = map(version, bundles)
    made = cluster(serving=second, config=load_config(tmp_path / "comments.yaml"))
    for bundle in bundles[:2]:
        made.store.release(bundle, run_digest="r")
    monkeypatch.setattr(kserve_backend, "cluster_api", made.api)
    monkeypatch.setattr(kserve_backend, "Clock", lambda: made.clock)

    def tidegate(*arguments):
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, arguments), "--cluster"])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code or 0
        for _ in range(5):
            made.kserve.round()
        told = capsys.readouterr()
        return code, told.out + told.err

    return made, tidegate, bundles, (first, second, third)


def test_a_release_on_the_cluster_is_begun_steered_and_ended_by_commands(place):
    made, tidegate, bundles, (_, old, new) = place
    assert tidegate("rollout", "status", "comments.yaml") == (
        0,
        f"comments: no release has begun; {old} serves\n",
    )
    code, said = tidegate("rollout", "start", "comments.yaml", bundles[2], "--by", "pat")
    assert (code, said.splitlines()[0]) == (
        0,
        f"comments: release of {new} begins; {old} serves",
    )
    order = ("comments.yaml", "--by", "kim", "--reason", "press day")
    assert tidegate("rollout", "pause", *order)[1] == (
        f"comments: paused; {old} serves, 0 % to the candidate\n"
    )
    assert made.answers() == {old: 100}
    assert tidegate("rollout", "advance", *order)[0] == 0
    assert made.answers() == {old: 50, new: 50}
    said = tidegate("rollout", "status", "comments.yaml")[1]
    assert f"candidate   {new}, 50 % of the traffic" in said
    assert tidegate("rollout", "abort", *order)[0] == 0
    assert made.answers() == {old: 100}
    last = ReleaseLog(made.log).read()[-1]
    assert (last.kind, last.actor, last.page) == (
        "rolled_back",
        "kim",
        f"failed/{new}/root_cause.html",
    )
    told = [event["message"] for event in made.kubernetes.of("events")]
    assert any(f"see failed/{new}/root_cause.html" in message for message in told)


def test_a_rollback_where_no_release_ever_began_moves_traffic_and_pointer(place):
    made, tidegate, _, (first, second, _) = place
    code, said = tidegate("rollback", "comments.yaml", "--reason", "complaints")
    assert (code, said) == (0, f"comments: version {first} is in service again\n")
    assert made.answers() == {first: 100}
    assert made.store.current("comments").version == first

    code, said = tidegate("rollback", "comments.yaml", "--to", "v9")
    assert code == 2
    assert "keeps no version 'v9'" in said
    assert made.answers() == {first: 100}
    assert tidegate("rollback", "comments.yaml", "--to", second)[0] == 0
    assert made.answers() == {second: 100}
