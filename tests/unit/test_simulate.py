"""What a simulated platform on disk holds, and that its command refuses what it cannot do."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from pipelines import cli
from tidegate.config import load_config
from tidegate.data.duplicates import near_matches
from tidegate.data.ingest import ingest
from tidegate.data.simulate import World, simulate
from tidegate.data.simulate.schemas import SCHEMAS
from tidegate.errors import BadInput

WORLD = World(accounts=900, days=63)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "platform"
    simulate(folder, WORLD, seed=3)
    return folder


@pytest.fixture(scope="module")
def tables(written):
    return {name: pd.read_parquet(written / f"{name}.parquet") for name in SCHEMAS}


@pytest.fixture(scope="module")
def story(written):
    return json.loads((written / "world.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def posts(tables):
    joined = tables["posts"].merge(tables["truth"], on="post_id", validate="1:1")
    days = joined["created_at"] - pd.Timestamp("2026-01-05", tz="UTC")
    return joined.assign(day=days.dt.days)


def _drift_day(story, kind):
    return next(d["day"] for d in story["parameters"]["drifts"] if d["kind"] == kind)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_same_seed_writes_the_same_bytes(tmp_path_factory, seed):
    world = World(accounts=60, days=15)
    folders = [tmp_path_factory.mktemp("same") / "a", tmp_path_factory.mktemp("same") / "b"]
    first, again = (simulate(folder, world, seed) for folder in folders)
    assert first == again
    for path in sorted(folders[0].iterdir()):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


def test_another_seed_writes_another_platform(tmp_path):
    world = World(accounts=60, days=8)
    digests = {simulate(tmp_path / str(seed), world, seed)["digest"] for seed in range(3)}
    assert len(digests) == 3


def test_every_table_has_its_columns_and_the_truth_stands_apart(written, tables):
    assert {path.stem for path in written.glob("*.parquet")} == set(SCHEMAS)
    for name, schema in SCHEMAS.items():
        assert pq.read_schema(written / f"{name}.parquet").equals(schema), name
    secrets = {"violating", "kind", "role", "campaign", "p_text", "p_all", "flagged"}
    for name in set(SCHEMAS) - {"truth", "account_truth", "training"}:
        shared = secrets.intersection(tables[name].columns)
        assert shared <= ({"kind"} if name == "edges" else set()), name


def test_every_row_points_at_something_that_is_there(tables):
    accounts, posts = set(tables["accounts"]["account_id"]), set(tables["posts"]["post_id"])
    assert tables["posts"]["post_id"].is_unique
    assert set(tables["posts"]["account_id"]) <= accounts
    assert set(tables["posts"]["reply_to_account_id"].dropna()) <= accounts
    assert set(tables["reports"]["reporter_id"]) <= accounts
    assert set(tables["edges"]["source_id"]) | set(tables["edges"]["target_id"]) <= accounts
    for name in ("reports", "labels", "appeals", "training"):
        assert set(tables[name]["post_id"]) <= posts
    assert set(tables["truth"]["post_id"]) == posts
    assert (tables["edges"]["source_id"] != tables["edges"]["target_id"]).all()
    logged = tables["events"].dropna(subset="post_id")
    assert set(logged["post_id"]) == posts
    assert (logged["action"] == "post").all()


def test_nobody_acts_before_the_account_was_made(tables):
    assert (tables["posts"]["account_age_days"] >= 0).all()
    created = tables["accounts"].set_index("account_id")["created_at"]
    reports = tables["reports"]
    assert (reports["reported_at"] >= reports["reporter_id"].map(created)).all()
    events = tables["events"]
    assert (events["at"] >= events["account_id"].map(created)).all()
    assert tables["posts"]["created_at"].is_monotonic_increasing


def test_halved_prevalence_begins_on_its_day(posts, story):
    day = _drift_day(story, "prior")
    regular = posts[posts["role"] == "regular"]
    promoting = regular["kind"] == "promotion"
    before = regular[~promoting & (regular["day"] < day)]["violating"].mean()
    after = regular[~promoting & (regular["day"] >= day)]["violating"].mean()
    assert after / before == pytest.approx(0.6, abs=0.15)


def test_the_new_topic_has_words_that_nobody_used_before_its_day(posts, story):
    day = _drift_day(story, "covariate")
    new = posts["text"].str.contains(r"\b(?:comet|nebula|observatory|meteoro|observatorio)\b")
    assert not new[posts["day"] < day].any()
    assert new[posts["day"] >= day].mean() > 0.05
    alone = (posts["day"] >= day) & (posts["campaign"] < 0)
    shares = posts[alone].groupby(new[alone])["violating"].mean()
    assert shares[True] == pytest.approx(shares[False], abs=0.03)


def test_promotion_turns_violating_on_its_day_and_reads_the_same(posts, story):
    day = _drift_day(story, "concept")
    promotion = posts[posts["kind"] == "promotion"]
    assert len(promotion) > 100
    assert (promotion["violating"] == (promotion["day"] >= day)).all()
    other = posts[posts["kind"].isin(["chatter", "banter", "offer", "warning"])]
    assert not other["violating"].any()


def test_a_ring_shares_addresses_and_registers_within_hours(tables, story):
    rings = [c for c in story["campaigns"] if c["role"] in {"scam_ring", "insult_ring"}]
    accounts = tables["accounts"].set_index("account_id")
    assert rings
    for ring in rings:
        members = accounts.loc[ring["members"]]
        registered = members["created_at"]
        assert registered.max() - registered.min() <= pd.Timedelta(hours=3)
        assert members["signup_ip"].nunique() <= 3 < 4 <= len(members)
    alone = accounts.drop([number for c in story["campaigns"] for number in c["members"]])
    assert alone.groupby("signup_ip").size().median() <= 3


def test_campaigns_post_near_duplicates(posts):
    busiest = posts[posts["scripted"]].groupby("campaign").size().idxmax()
    ring = posts[posts["scripted"] & (posts["campaign"] == busiest)]["text"].tolist()
    half = len(ring) // 2
    found = near_matches(ring[half:], ring[:half])
    plain = posts[~posts["scripted"]]["text"].tolist()
    assert half >= 20
    assert found.mean() > 0.2
    assert near_matches(plain[1000:1500], plain[:1000]).mean() < 0.02


def test_labels_are_few_and_lie_near_the_boundary(tables, posts):
    labels = tables["labels"].merge(posts[["post_id", "p_text"]], on="post_id")
    near = labels["p_text"].between(0.1, 0.9)
    drawn = labels["source"] == "investigator"
    everywhere = posts["p_text"].between(0.1, 0.9).mean()
    assert len(labels) < 0.12 * len(posts)
    assert near[drawn].mean() > 3 * everywhere
    assert near[~drawn].mean() == pytest.approx(everywhere, abs=0.05)
    # The audit is a fair sample, the investigators' rows weighted by 1/probability are too.
    weights = 1 / labels[drawn]["probability"]
    assert np.average(near[drawn], weights=weights) == pytest.approx(everywhere, abs=0.05)


def test_labels_and_reports_are_wrong_now_and_then(tables, posts):
    truth = posts.set_index("post_id")
    labels = tables["labels"]
    wrong = labels["label"].to_numpy() != truth.loc[labels["post_id"], "violating"].to_numpy()
    assert 0.005 < wrong.mean() < 0.12
    reports = tables["reports"]
    reported = truth.loc[reports["post_id"]]
    assert 0.05 < 1 - reported["violating"].mean() < 0.8
    assert set(reports["reason"]) == {"insult", "scam", "threat", "other"}


def test_insult_rings_report_their_victim(tables, posts, story):
    members = {c["victim"]: c["members"] for c in story["campaigns"] if c["victim"] is not None}
    hit = posts[posts["brigaded"]]
    assert set(hit["account_id"]) <= set(members)
    reports = tables["reports"].merge(hit[["post_id", "account_id"]], on="post_id")
    by_ring = [
        reporter in members[victim]
        for reporter, victim in zip(reports["reporter_id"], reports["account_id"], strict=True)
    ]
    assert len(hit) >= 3
    assert np.mean(by_ring) > 0.8
    assert len(reports) / len(hit) > 2


def test_people_sleep_and_bots_do_not(tables):
    events = tables["events"].merge(tables["account_truth"], on="account_id")
    offset = tables["accounts"].set_index("account_id")["utc_offset_hours"]
    hour = (events["at"].dt.hour + events["account_id"].map(offset)) % 24
    bots = events["role"].isin(["spam_bot", "service_bot"])
    night, evening = hour.between(2, 5), hour.between(18, 21)
    assert night[~bots].mean() < 0.35 * evening[~bots].mean()
    assert night[bots].mean() == pytest.approx(evening[bots].mean(), rel=0.2)
    # A bot acts within seconds of the same minutes of the hour.
    busiest = events[bots].groupby("account_id").size().idxmax()
    minutes = events[events["account_id"] == busiest]["at"].dt.minute
    assert minutes.nunique() <= 8


def test_one_dialect_teases_more_but_violates_no_more(posts):
    regular = posts[(posts["role"] == "regular") & (posts["kind"] != "promotion")]
    by = regular.groupby("dialect")
    banter = by["kind"].agg(lambda kind: (kind == "banter").mean())
    assert banter["coast"] > 1.7 * banter["north"]
    violating = by["violating"].mean()
    assert violating["coast"] == pytest.approx(violating["north"], abs=0.015)


def test_nobody_can_tell_them_all_apart(posts, story):
    ceiling = story["ceiling"]
    assert 0.7 < ceiling["text"] < ceiling["everything"] < 0.97
    rng = np.random.default_rng(0)
    part = rng.random(len(posts)) < 0.5
    train, test = posts[part], posts[~part]
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=4.0, max_iter=300)
    model.fit(words.fit_transform(train["text"]), train["violating"])
    score = model.predict_proba(words.transform(test["text"]))[:, 1]
    reached = average_precision_score(test["violating"], score)
    best = average_precision_score(test["violating"], test["p_text"])
    assert 0.4 < reached < best - 0.05


def test_the_ceiling_is_calibrated(posts):
    alone = posts[posts["campaign"] < 0]
    for chance in ("p_text", "p_all"):
        bins = pd.cut(alone[chance], [-0.01, 0.05, 0.3, 0.7, 0.95, 1.01], labels=False)
        means = alone.groupby(bins).agg(told=(chance, "mean"), true=("violating", "mean"))
        assert len(means) == 5
        assert (means["told"] - means["true"]).abs().max() < 0.08


def test_the_written_configuration_reads_its_table(written, tmp_path):
    config = load_config(written / "config.yaml")
    snapshot = ingest(config.data, name=config.name, source_digest="", out=tmp_path / "snapshot")
    assert [column.name for column in snapshot.columns if column.kind == "text"] == ["text"]
    assert snapshot.splits["holdout"].violating > 20
    assert snapshot.groups == ("dialect",)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--accounts", "-5"], "accounts: must be at least 50, got -5"),
        (["--days", "3"], "days: must be at least 7, got 3"),
        (["--seed", "-1"], "seed: must be 0 or more, got -1"),
    ],
)
def test_a_platform_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, options, told):
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["tidegate", "simulate", "-o", str(out), *options])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tidegate", "simulate", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(BadInput, match="is a file"):
        simulate(tmp_path / "notes.txt", World(), seed=0)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tidegate.data.simulate.tables.store.write_json", full)
    with pytest.raises(OSError, match="No space"):
        simulate(tmp_path / "out", World(accounts=60, days=7), seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    argv = ["tidegate", "simulate", "-o", str(out), "--accounts", "60", "--days", "14"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    told = capsys.readouterr().out
    assert "prior drift from day 7" in told
    assert f"tidegate run {out}" in told
