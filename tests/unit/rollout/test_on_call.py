"""What a release does while what it is judged by is away."""

from datetime import datetime, timedelta

import pytest

from benchmarks.simulated_place import START
from tests.unit.rollout.scene import CONFIG, Scene
from tidegate.config import OpsConfig
from tidegate.records import Traffic
from tidegate.rollout.evidence import OpsCounts, OpsEvidence
from tidegate.rollout.live_analyst import LiveAnalyst
from tidegate.rollout.prometheus import NoFigures, PrometheusOps

SHADOWLESS = CONFIG.model_copy(update={"steps": (5, 50, 100), "max_pause_seconds": 7200})


class Prometheus:
    """Counts of two equal versions, a request a second; away for a while, as somebody says."""

    def __init__(self, away):
        self.away = away

    def ops(self, state, now):
        if self.away[0] <= now < self.away[1]:
            return OpsEvidence(problem="Prometheus did not answer within 5 s: timed out")
        # What it did not scrape while it was away is missing from its counts.
        began = datetime.fromisoformat(state.step_began_at)
        seconds = (now - began).total_seconds()
        if began < self.away[1] <= now:
            seconds -= (self.away[1] - max(self.away[0], began)).total_seconds()
        one = OpsCounts(requests=max(1.0, 4 * seconds), errors=0.0, slower={100.0: 0.0})
        return OpsEvidence(candidate=one, baseline=one)


def test_while_prometheus_is_down_for_an_hour_the_release_stays_where_it_is_and_then_goes_on():
    scene = Scene(SHADOWLESS)
    down = (START + timedelta(seconds=400), START + timedelta(seconds=400 + 3600))
    scene.controller._analyst = LiveAnalyst(SHADOWLESS, ops=Prometheus(down))
    scene.run(500)
    assert (scene.state.phase, scene.state.percent) == ("paused", 50)
    assert "Prometheus did not answer" in scene.state.reason
    routed = len(scene.place.routes)
    scene.run(3400)
    assert (scene.state.phase, len(scene.place.routes)) == ("paused", routed)
    scene.run(1200)
    assert scene.state.phase == "promoted"
    assert scene.place.traffic == Traffic(baseline="new")
    assert [kind for kind, _ in scene.told()] == [
        "began", "advanced", "paused", "resumed", "advanced", "promoted",
    ]  # fmt: skip


def test_a_prometheus_that_stays_away_ends_the_release_after_the_longest_pause():
    scene = Scene(SHADOWLESS)
    for_ever = (START, START + timedelta(days=9))
    scene.controller._analyst = LiveAnalyst(SHADOWLESS, ops=Prometheus(for_ever))
    scene.run(SHADOWLESS.max_pause_seconds + 200)
    assert scene.state.phase == "rolled_back"
    assert scene.state.reason.startswith("inconclusive for longer than 7200 s")
    assert scene.place.traffic == Traffic(baseline="old")


def test_a_slow_prometheus_costs_less_than_the_lease(monkeypatch):
    elapsed = [0.0]
    source = PrometheusOps(
        OpsConfig(prometheus="http://127.0.0.1:9", timeout_seconds=5), clock=lambda: elapsed[0]
    )
    limits = []

    def slow(url, *, data, timeout):
        limits.append(timeout)
        elapsed[0] += min(timeout, 4.0)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", slow)
    source._until = elapsed[0] + 15
    for _ in range(4):
        with pytest.raises(NoFigures, match="did not answer within"):
            source._ask("query", {"query": "up"})
    assert limits == [5, 5, 5, 3]
    with pytest.raises(NoFigures, match="too slow"):
        source._ask("query", {"query": "up"})
