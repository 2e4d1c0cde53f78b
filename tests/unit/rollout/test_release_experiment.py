"""An experiment at the end of a release's canary, by its commands; nothing is served."""

import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines import cli
from tests.unit.test_model_store import build, version
from tidegate.config import PayloadLogConfig, load_config
from tidegate.rollout.controller import utc_now
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.transitions import begin, hold
from tidegate.rollout.unit_split import assigned, experiment_name
from tidegate.serving.payload_log import PayloadLog

UNITS = 3000


class Toy:
    """A release on its way, outcomes, and the command line."""

    def __init__(self, folder, run):
        self.folder, self.run = folder, run
        self.store = ModelStore(folder / "models")
        bundles = [build(folder / f"b{number}", f"weights {number}") for number in range(2)]
        self.old, self.new = map(version, bundles)
        self.store.release(bundles[0], run_digest="a")
        self.store.keep(bundles[1])
        self.name = experiment_name("toy", self.new)
        self.backend = LocalBackend(self.store, "toy")
        self.began = utc_now() - timedelta(hours=1)

    def at_percent(self, percent, *, in_force=True):
        config = load_config(self.folder / "toy.yaml").rollout
        state, _ = begin(
            name="toy", baseline=self.old, candidate=self.new, run_digest="b", config=config,
            actor="pat", now=self.began,
        )  # fmt: skip
        state = state.model_copy(update={"step": config.steps.index(percent), "in_force": in_force})
        found = self.backend.read_state()
        self.backend.write_state(state, revision=None if found is None else found[1])

    @property
    def state(self):
        return self.backend.read_state()[0]

    def outcomes(self, gain, *, seed=0, **columns):
        rng = np.random.default_rng(seed)
        ids = [f"u{n}" for n in range(UNITS)]
        arms = [assigned(self.name, unit, candidate_share=0.5) for unit in ids]
        is_candidate = np.array([arm == "candidate" for arm in arms])
        upheld = (rng.random(UNITS) < 0.3 + gain * is_candidate).astype(int)
        served = np.where(is_candidate, self.new, self.old)
        whole = pd.DataFrame(
            {"account": ids, "upheld": upheld, "model_version": served, "arm": arms}
        )
        return whole.assign(row_id=[f"post-{n}" for n in range(UNITS)])

    def table(self, name, frame):
        frame.to_parquet(self.folder / name)
        return name

    def begin(self):
        past = self.table("past.parquet", self.outcomes(0, seed=9).drop(columns="arm"))
        return self.run("rollout", "experiment", "begin", "toy.yaml", "--past", past)

    def look(self, frame, *more):
        name = self.table("now.parquet", frame)
        words = ("rollout", "experiment", "look", "toy.yaml", "--outcomes", name)
        return self.run(*words, *more)


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    experiment = {
        "metric": "upheld", "better": "lower", "smallest_effect": 0.05, "unit": "account",
    }  # fmt: skip
    document = {
        "name": "toy",
        "data": {"source": "posts.parquet", "text": "text", "label": "label"},
        "serving": {"payload_log": {"uri": str(tmp_path / "log")}},
        "rollout": {"model_store": "models", "steps": [0, 50, 100], "experiment": experiment},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(document))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tidegate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out + told.err

    toy = Toy(tmp_path, run)
    toy.at_percent(50)
    return toy


def test_an_experiment_holds_the_release_at_its_share_until_a_verdict(toy):
    code, said = toy.begin()
    assert code == 0, said
    assert f"toy: {toy.new} against {toy.old}, by account" in said
    assert (toy.state.phase, toy.state.held_by) == ("paused", f"experiment {toy.name}")
    first = toy.outcomes(-0.15).head(300)
    code, said = toy.look(first)
    assert (code, said.partition(":")[0]) == (0, "go on")
    assert toy.state.phase == "paused"


@pytest.mark.parametrize(
    ("gain", "verdict", "phase"),
    [(-0.15, "better", "progressing"), (0.15, "worse", "rolled_back")],
)
def test_a_better_candidate_goes_on_and_a_worse_one_goes(toy, gain, verdict, phase):
    toy.begin()
    code, said = toy.look(toy.outcomes(gain))
    assert (code, said.partition(":")[0]) == (0, verdict), said
    assert toy.state.phase == phase
    assert toy.state.outbox[-1].actor == f"experiment {toy.name}"
    assert f"the candidate is {verdict} in upheld" in toy.state.outbox[-1].says
    folder = toy.backend.folder / "experiments" / toy.new
    assert (folder / "experiment.html").is_file()


def test_a_verdict_may_be_looked_at_without_acting_on_it(toy):
    toy.begin()
    assert toy.look(toy.outcomes(0.15), "--no-act")[1].startswith("worse")
    assert toy.state.held_by == f"experiment {toy.name}"


def test_units_come_from_the_payload_log_where_the_outcomes_have_none(toy):
    toy.begin()
    whole = toy.outcomes(-0.15)
    log = PayloadLog(PayloadLogConfig(uri=str(toy.folder / "log")))
    log.offer(
        [
            {
                "row_id": row.row_id,
                "unit_id": row.account,
                "arm": row.arm,
                "model_version": row.model_version,
                "time": datetime.now(UTC),
            }
            for row in whole.itertuples()
        ]
    )
    log.close()
    code, said = toy.look(whole[["row_id", "upheld"]])
    assert (code, said.partition(":")[0]) == (0, "better"), said
    assert toy.state.phase == "progressing"


def test_before_the_end_of_the_canary_nothing_begins(toy):
    for percent, in_force in ((0, True), (50, False), (100, True)):
        toy.at_percent(percent, in_force=in_force)
        code, said = toy.begin()
        assert (code, "is not at 50 %" in said) == (2, True)
    assert not (toy.backend.folder / "experiments").exists()
    code, said = toy.look(toy.outcomes(0))
    assert (code, "no experiment of this release began" in said) == (2, True)


def test_what_a_person_holds_stays_his(toy):
    state, revision = toy.backend.read_state()
    held, _ = hold(state, by="kim", reason="press day", now=utc_now())
    toy.backend.write_state(held, revision=revision)
    code, said = toy.begin()
    assert (code, "is held by kim" in said) == (2, True)
    assert toy.state.held_by == "kim"
