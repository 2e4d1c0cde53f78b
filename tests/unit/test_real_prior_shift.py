"""A prior that fell, on real mail: named without labels, and answered by a threshold that holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.toy_bundle import write_toy_bundle
from tidegate.config import MonitorConfig, PolicyConfig
from tidegate.evaluation.measurement import rows_of
from tidegate.evaluation.objectives import choose
from tidegate.models.bundle import DRIFT_REFERENCE, load_bundle
from tidegate.models.watched import watched_table
from tidegate.monitoring.detection import check_level, detect_drift
from tidegate.monitoring.diagnosis import diagnose, estimate_mix
from tidegate.monitoring.open_tests import OpenTests
from tidegate.records import Column
from tidegate.store import read_table

MAIL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "spamassassin.parquet"
CHANGE = pd.Timestamp("2002-08-15", tz="UTC")
POLICY = PolicyConfig(min_precision=0.9, confidence=0.95)
MONITOR = MonitorConfig(engine="open", window_days=14, scales=(1,), max_rows=150)
COLUMNS = (Column(name="subject", kind="text"), Column(name="body", kind="text"))
LONGEST, LEARNED, NORM = 800, 1000, 2000

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MAIL.is_file(), reason=f"the real set is not at {MAIL}"),
]


@pytest.fixture(scope="module")
def mail():
    table = pd.read_parquet(MAIL).drop_duplicates("body_md5")
    table["received_at"] = pd.to_datetime(table["received_at"], utc=True)
    return table.assign(body=table["body"].str.slice(0, LONGEST))


@pytest.fixture(scope="module")
def bundle(mail, tmp_path_factory):
    """Of mail before the change; the reference is of rows that it has not learned from."""
    before = mail[mail["received_at"] < CHANGE].sample(frac=1.0, random_state=0)
    inputs, labels = before[["subject", "body"]].reset_index(drop=True), before["y"].to_numpy()
    folder = tmp_path_factory.mktemp("mail")
    write_toy_bundle(
        folder,
        train=(inputs[:LEARNED], labels[:LEARNED]),
        norm=(inputs[LEARNED : LEARNED + NORM].reset_index(drop=True), labels[LEARNED:][:NORM]),
        columns=COLUMNS,
        max_rows=5000,
        components=16,
    )
    return folder / "bundle"


@pytest.mark.parametrize("window", [0, 1])
def test_mail_after_its_prior_fell_is_a_prior_shift_whose_offered_threshold_holds(
    mail, bundle, window
):
    days = (mail["received_at"] - CHANGE).dt.days
    rows = mail[(days >= 14 * window) & (days < 14 * (window + 1))].reset_index(drop=True)
    violating = rows["y"].to_numpy() == 1
    norm = read_table(bundle / DRIFT_REFERENCE)
    in_service = choose(rows_of(norm, "reference"), POLICY).threshold.value
    loaded = load_bundle(bundle)
    scores = loaded.score(rows)
    seen = watched_table(loaded.featurizer, COLUMNS, rows, scores)
    tests = detect_drift(
        norm.drop(columns=["label", "weight"]),
        seen,
        engine=OpenTests(0),
        level=check_level(MONITOR),
        config=MONITOR,
        bundle_version="v",
    )
    found = diagnose(
        norm,
        seen,
        tests,
        None,
        estimate_mix(norm, seen, policy=POLICY, config=MONITOR),
        policy=POLICY,
        config=MONITOR,
        threshold=in_service,
    )
    assert found.kind == "prior_shift"
    assert found.prior.interval[1] < found.prior.reference_prevalence / 2
    assert not found.offer.in_service_keeps_promise
    assert violating[scores >= in_service].mean() < POLICY.min_precision
    flagged = scores >= found.offer.offered.value
    assert violating[flagged].mean() >= POLICY.min_precision
    assert np.count_nonzero(flagged & violating) >= 20
