"""The demo's releases: a better model arrives by shadow and canary, a sabotaged one does not.

What a reader would type is run as they would type it; the traffic comes from here.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from examples.small_model import train_small_model
from examples.steady_sender import SteadySender, wait_until_ready
from tidegate.models.bundle import read_manifest
from tidegate.rollout.model_store import ModelStore
from tidegate.store import write_text

TIDEGATE = [sys.executable, "-m", "pipelines.cli"]
NAME, STORE = "sms", "served"
#: A release of minutes and hours in a few seconds; the latency limits are those of a laptop that
#: runs clients, proxy, servers and controller at once.
CONFIG = """\
name: sms
data: {source: sms.parquet, id: id, text: text, label: label, violating: [spam]}
rollout:
  model_store: served
  steps: [0, 25, 100]
  step_seconds: 1
  interval_seconds: 1
  min_requests: 10
  ops: {max_p99_ms: 3000, max_p99_ratio: 100}
  quality: {min_shadow_rows: 20, replay_rows: 25, replay_rows_per_second: 100}
"""
_EARLY_MESSAGES = 1200
_PER_SECOND = 25.0


def show_releases(folder: Path, run: Path, messages: pd.DataFrame, port: int) -> None:
    """Release the run's model over an early one, then a sabotaged one over the run's.

    Parameters
    ----------
    folder : Path
        Where configuration, bundles and the store of served models go.
    run : Path
        A finished run.
    messages : DataFrame
        Columns `text` and `label` (ham or spam).
    port : int
        A free one, for the proxy.
    """
    config = folder / "sms-release.yaml"
    write_text(config, CONFIG)
    texts = messages["text"].astype(str).tolist()
    spam = (messages["label"] == "spam").to_numpy().astype(np.int8)
    store = ModelStore(folder / STORE)
    early, sabotaged = folder / "early", folder / "sabotaged"
    first = train_small_model(
        early, texts[:_EARLY_MESSAGES], spam[:_EARLY_MESSAGES], name=NAME, threshold=0.4
    )
    store.keep(early / "bundle")
    store.put_in_service(NAME, first.version)
    print(f"\nin service: {first.version}, trained on the first {_EARLY_MESSAGES} messages")

    print("\n1. the run's model replaces it, while clients send messages:")
    _release(config, run, texts, port)
    print("\n2. a sabotaged model, trained on inverted labels, wants to replace that:")
    # With the rule of the one in service, so that its answers look the same.
    rule = read_manifest(run / "bundle").rule
    wrong = (1 - spam[:_EARLY_MESSAGES]).astype(np.int8)
    train_small_model(sabotaged, texts[:_EARLY_MESSAGES], wrong, name=NAME, rule=rule)
    _release(config, sabotaged, texts, port)
    print()
    subprocess.run([*TIDEGATE, "rollout", "status", str(config), "--events", "4"], check=True)


def _release(config: Path, candidate: Path, texts: list[str], port: int) -> None:
    _tell("rollout", "start", str(config), str(candidate), "--by", "demo")
    subprocess.run(
        [*TIDEGATE, "rollout", "start", str(config), str(candidate), "--by", "demo"], check=True
    )
    _tell("rollout", "run", str(config))
    stepping = subprocess.Popen([*TIDEGATE, "rollout", "run", str(config), "--port", str(port)])
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, NAME)
        with SteadySender(address, NAME, texts, per_second=_PER_SECOND) as sender:
            code = stepping.wait(300)
    finally:
        stepping.terminate()
        stepping.wait(30)
    if code != 0:
        raise SystemExit(f"tidegate rollout run ended with exit code {code}")
    print(f"   clients: {sender.answered} requests answered", flush=True)


def _tell(*arguments: str) -> None:
    shown = [Path(a).name if "/" in a else a for a in arguments]
    print(f"$ tidegate {' '.join(shown)}", flush=True)
