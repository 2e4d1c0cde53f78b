"""Faults against real model-server processes behind the local proxy, under steady traffic.

Three releases by the real controller and analysis over the local backend: a model trained on
inverted labels, one whose process is killed again and again in the canary, and one whose server
stops answering in time (SIGSTOP).
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.small_model import train_small_model
from examples.steady_sender import SteadySender
from tidegate.config import RunConfig
from tidegate.records import ReleaseState, Traffic
from tidegate.rollout.controller import Controller, utc_now
from tidegate.rollout.local_backend import LocalBackend
from tidegate.rollout.local_evidence import local_analyst
from tidegate.rollout.local_proxy import LocalProxy
from tidegate.rollout.local_servers import LocalServers
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.transitions import begin

INTERVAL_SECONDS = 5.0
CONFIG = RunConfig.model_validate(
    {
        "name": "toy",
        "data": {"source": "posts.parquet", "text": "text", "label": "label"},
        "rollout": {
            "steps": [0, 50, 100],
            "step_seconds": 2 * INTERVAL_SECONDS,
            "interval_seconds": INTERVAL_SECONDS,
            "min_requests": 20,
            "max_unready_seconds": 120,
            "ops": {"max_p99_ms": 3000, "max_p99_ratio": 100},
            "quality": {"min_shadow_rows": 40, "replay_rows": 60, "replay_rows_per_second": 200},
        },
    }
)
_PER_SECOND, _POLL_SECONDS, _LONGEST_SECONDS = 30.0, 0.5, 180.0
# A poll, a readiness check, and what one look's replays take where the clients, the proxy, both
# servers and the controller share two cores.
_SLACK_SECONDS = 10.0
_WORDS = (("lunch", "noon", "code", "tea"), ("prize", "free", "win", "cash"))

Sabotage = Callable[[LocalServers, str], None]


def process_faults() -> tuple[int, int]:
    """Play the faults; return how many there are and how many were stopped in time."""

    def none(servers: LocalServers, candidate: str) -> None:
        pass

    def kill(servers: LocalServers, candidate: str) -> None:
        _signal(servers, candidate, signal.SIGKILL)

    def stop(servers: LocalServers, candidate: str) -> None:
        _signal(servers, candidate, signal.SIGSTOP)

    played: list[tuple[str, bool, Sabotage]] = [
        ("real processes: inverted labels", True, none),
        ("real processes: killed in the canary", False, kill),
        ("real processes: server hangs", False, stop),
    ]
    handled = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, inverted, sabotage) in enumerate(played):
            state, after = _play(Path(folder) / str(number), inverted, sabotage)
            allowed = INTERVAL_SECONDS + _SLACK_SECONDS
            in_time = after is not None and after <= allowed
            handled += in_time
            told = "never" if after is None else f"{after:.0f} s"
            print(
                f"{name:<40} {state.percent:>3} % {state.phase:<12} {told:>7}  "
                f"{state.reason[:96]}{'' if in_time else '  LATE'}",
                flush=True,
            )
    return len(played), handled


def _play(folder: Path, inverted: bool, sabotage: Sabotage) -> tuple[ReleaseState, float | None]:
    """Release a candidate; return the state that stopped it, and how long that took.

    An inverted model is at fault from when its shadow is in force, the others from when the
    canary is.
    """
    store = ModelStore(folder / "store")
    versions, texts = [], []
    for number in range(2):
        texts, labels = _posts(100 + 20 * number, seed=number)
        wrong = inverted and number == 1
        train_small_model(
            folder / str(number),
            texts,
            (1 - labels if wrong else labels).astype(np.int8),
            name="toy",
        )
        versions.append(store.keep(folder / str(number) / "bundle").version)
    store.put_in_service("toy", versions[0])
    with LocalServers(store, "toy", LocalProxy(), folder / "logs") as servers:
        servers.route(Traffic(baseline=versions[0]))
        servers.wait_until_ready(versions[0], 120)
        backend = LocalBackend(store, "toy", servers)
        state, events = begin(
            name="toy",
            baseline=versions[0],
            candidate=versions[1],
            run_digest="run",
            config=CONFIG.rollout,
            actor="benchmark",
            now=utc_now(),
        )
        backend.write_state(state.model_copy(update={"outbox": events}), revision=None)
        controller = Controller(
            backend, local_analyst(servers, store, CONFIG), CONFIG.rollout, utc_now, "benchmark"
        )
        since: float | None = None
        until = time.monotonic() + _LONGEST_SECONDS
        with SteadySender(servers.proxy.address, "toy", texts, per_second=_PER_SECOND):
            while time.monotonic() < until:
                controller.tick()
                found = backend.read_state()
                assert found is not None
                state = found[0]
                if since is not None and state.phase in ("paused", "rolled_back"):
                    return state, time.monotonic() - since
                if since is None and state.in_force and state.percent == (0 if inverted else 50):
                    since = time.monotonic()
                    sabotage(servers, versions[1])
                time.sleep(_POLL_SECONDS)
    return state, None


def _posts(rows: int, *, seed: int) -> tuple[list[str], npt.NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 2).astype(np.int8)
    return [" ".join(rng.choice(_WORDS[y], size=4)) for y in labels], labels


def _signal(servers: LocalServers, version: str, number: int) -> None:
    process = servers.process_id(version)
    if process is not None:
        os.kill(process, number)
