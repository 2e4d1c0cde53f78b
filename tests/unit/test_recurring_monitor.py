"""The monitor of the model in service, as a job or a pipeline's step calls it."""

from datetime import timedelta

import pytest

from tests.unit.test_watch import START, Place, bundle
from tidegate.config import MonitorConfig, RunConfig
from tidegate.errors import BadInput
from tidegate.monitoring.recurring import SIGNALS, check_served, report_figures
from tidegate.rollout.model_store import ModelStore
from tidegate.store import read_json

__all__ = ["bundle"]


def configured(place, **monitor):
    watched = {"engine": "open", "scales": [1, 2], "max_rows": 100, **monitor}
    watched["online"] = {"detectors": []}
    return RunConfig.model_validate(
        {
            "name": "toy",
            "data": {"source": "posts.parquet", "text": "text", "label": "label"},
            "policy": {"min_precision": 0.8, "confidence": 0.9},
            "serving": {"payload_log": {"uri": str(place.log)}},
            "monitor": MonitorConfig.model_validate(watched).model_dump(),
        }
    )


@pytest.fixture
def place(tmp_path, bundle):
    ModelStore(tmp_path / "models").release(bundle, run_digest="r")
    return Place(tmp_path, bundle)


def test_a_signal_lasts_as_long_as_the_longest_scale_covers_its_window(place):
    config = configured(place)
    place.serve(0, rows=600, prevalence=0.1)
    for day in (1, 2):
        place.serve(day)

    def check(days):
        found = check_served(config, place.folder, now=START + timedelta(days=days))
        return found, {signal["window"][:10] for signal in read_json(found.folder / SIGNALS)}

    found, noticed = check(1.3)
    assert noticed == {"2026-03-03"}
    figures = report_figures(found.report)
    assert (figures["checks"], figures["tested"], figures["changed"]) == (1, 1, 1)
    assert figures["prevalence_high"] < 0.3
    found, noticed = check(1.4)
    assert (found.report.checks, noticed) == ((), {"2026-03-03"}), "nothing due takes none away"
    assert "2026-03-03" not in check(3.3)[1]


def test_what_cannot_be_watched_is_said_before_anything_is_done(place):
    with pytest.raises(BadInput, match=r"monitor.engine: .* --set monitor.engine=open"):
        check_served(configured(place, engine="alibi"), place.folder, now=START)
    other = configured(place).model_copy(update={"name": "other"})
    with pytest.raises(BadInput, match="no version of it is in service"):
        check_served(other, place.folder, now=START)
    assert not (place.folder / "monitor").exists()
