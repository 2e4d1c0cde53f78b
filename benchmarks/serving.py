"""Requests of one row, a core: Tidegate's server against three others with the same model.

``python benchmarks/serving.py [--seconds 8] [--rows 4000] [--algorithm logistic] [--workers 1]``
trains TF-IDF of words and characters with a logistic regression on synthetic posts, once as a
bundle and once as a pickled scikit-learn pipeline, and asks each server, one after the other, each
alone on the machine but for the generator: KServe's scikit-learn server, MLServer (in an
environment of its own, ``.peers/mlserver``, made from ``benchmarks/peers/mlserver.txt`` with
``--install`` where it is not there; ``--mlserver-env`` names another), and FastAPI with a pickle.

``--turns 5`` asks all servers in turn instead, a burst each, over and over, and tells processor
microseconds a request alone: what else the machine does then falls on all of them alike.

``rows_per_core_second`` is requests over the seconds of processor time that the server took, so
that the generator beside it does not count; latencies are at fixed rates, from when a request was
due. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from featurize import synthetic

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
MANY = 32
WORDS, CHARACTERS = 40_000, 60_000
FIRST_PORT = 18_080


@dataclass(frozen=True)
class Side:
    """A server: how to start it, where to ask, and how a text is asked about."""

    name: str
    command: Sequence[str]
    path: str
    port: int
    asks: Any
    environment: Mapping[str, str]


def train(folder: Path, algorithm: str, rows: int) -> list[str]:
    """Write ``bundle`` and ``pipeline.joblib``, of the same texts; return texts to ask about."""
    import joblib
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    from tidegate.config import FeatureConfig
    from tidegate.features.featurizer import Featurizer
    from tidegate.models.bundle import with_decision_rule, write_bundle
    from tidegate.models.catalogue import algorithm as find
    from tidegate.models.interface import Setting
    from tidegate.records import Column

    texts = synthetic(2 * rows)
    labels = (np.random.default_rng(1).random(rows) < 0.2).astype(np.int8)
    marked = [f"{text} vile" if label else text for text, label in zip(texts, labels, strict=False)]
    frame, columns = pd.DataFrame({"text": marked}), (Column(name="text", kind="text"),)
    config = FeatureConfig(embedding="none", statistics=False, projection_components=2)
    featurizer = Featurizer.fit(frame, columns, labels, config)
    featurizer.save(folder / "featurizer")
    found = find(algorithm)
    model = found.build(found.defaults, Setting())
    model.fit(featurizer.transform(frame), labels, np.ones(rows))
    write_bundle(
        folder / "bundle",
        name="model",
        algorithm=algorithm,
        params=found.defaults,
        model=model,
        featurizer_folder=folder / "featurizer",
        columns=columns,
        snapshot_digest="benchmark",
    )
    promise = {"min_precision": 0.9, "confidence": 0.95}
    with_decision_rule(folder / "bundle", folder / "bundle", threshold=0.5, **promise)
    pipeline = make_pipeline(
        make_union(
            TfidfVectorizer(
                token_pattern=r"\w+|[^\w\s]",
                ngram_range=(1, 3),
                sublinear_tf=True,
                max_features=WORDS,
            ),
            TfidfVectorizer(
                analyzer="char", ngram_range=(3, 5), sublinear_tf=True, max_features=CHARACTERS
            ),
        ),
        LogisticRegression(C=4.0, max_iter=500),
    )
    joblib.dump(pipeline.fit(marked, labels), folder / "pipeline.joblib")
    return texts[rows:]


def sides(folder: Path, workers: int, mlserver: Path | None) -> list[Side]:
    """Return every server that can run here."""
    python, model = sys.executable, str(folder / "pipeline.joblib")
    port = FIRST_PORT
    settings = json.dumps({"workers": workers, "max_concurrent": 1024})
    found = [
        Side(
            "tidegate",
            [
                *(python, "-m", "tidegate.serving", "--bundle", str(folder / "bundle")),
                *("--port", str(port), "--grpc-port", "none", "--settings", settings),
            ],
            "/v1/models/model:predict",
            port,
            lambda text: {"instances": [{"text": text}]},
            {"PYTHONPATH": str(ROOT)},
        ),
        Side(
            "kserve sklearn",
            [python, str(HERE / "peers" / "kserve_sklearn_side.py"), model, str(port + 2)],
            "/v1/models/model:predict",
            port + 2,
            lambda text: {"instances": [text]},
            {},
        ),
        Side(
            "fastapi pickle",
            [python, str(HERE / "peers" / "fastapi_pickle_side.py"), model, str(port + 4)],
            "/predict",
            port + 4,
            lambda text: {"instances": [text]},
            {},
        ),
    ]
    if mlserver is not None:
        place = folder / "mlserver"
        place.mkdir()
        settings = {"parallel_workers": 0, "host": "127.0.0.1", "http_port": port + 6}
        ports = {"grpc_port": port + 7, "metrics_port": port + 8, "debug": False}
        (place / "settings.json").write_text(json.dumps({**settings, **ports}))
        about = {"name": "model", "implementation": "mlserver_sklearn.SKLearnModel"}
        (place / "model-settings.json").write_text(
            json.dumps({**about, "parameters": {"uri": model}})
        )
        found.append(
            Side(
                "mlserver",
                [str(mlserver / "bin" / "mlserver"), "start", str(place)],
                "/v2/models/model/infer",
                port + 6,
                _as_tensor,
                {},
            )
        )
    return found


def _as_tensor(text: str) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    return {
        "parameters": {"content_type": "str"},
        "inputs": [tensor],
        "outputs": [{"name": "predict_proba"}],
    }


def measure(side: Side, texts: Sequence[str], seconds: float, rates: Sequence[float]) -> Any:
    """Start a server, ask it, stop it; return its figures."""
    begun = time.monotonic()
    process = started(side)
    try:
        wait_for(side, texts[0], process)
        found: dict[str, Any] = {
            "starts_in_seconds": time.monotonic() - begun,
            "starts_in_processor_seconds": _processor_seconds(process.pid),
        }

        def load(connections: int, rate: float, lasting: float) -> dict[str, float]:
            return loaded(side, process.pid, texts, connections, rate, lasting)

        load(4, 0, min(seconds, 2))
        found["one_connection"] = load(1, 0, seconds)
        found["saturated"] = load(MANY, 0, seconds)
        half = found["saturated"]["requests_per_second"] / 2
        found["at_half"] = {"rate": half, **load(MANY, half, seconds)}
        found["at_rates"] = {f"{rate:g}": load(MANY, rate, seconds) for rate in rates}
        found["memory_mib"] = memory_mib(process.pid)
        return found
    finally:
        stop(process)


def measure_in_turns(
    every: Sequence[Side], texts: Sequence[str], seconds: float, turns: int
) -> dict[str, dict[str, float]]:
    """Start all servers and ask each for a burst in turn; return microseconds a request.

    The first turn warms up and does not count.
    """
    processes = [started(side) for side in every]
    used: dict[tuple[str, str], list[float]] = {}
    try:
        for side, process in zip(every, processes, strict=True):
            wait_for(side, texts[0], process)
        for turn in range(turns + 1):
            for name, connections in (("one_connection", 1), ("saturated", MANY)):
                for side, process in zip(every, processes, strict=True):
                    told = loaded(side, process.pid, texts, connections, 0, seconds)
                    if turn:
                        sums = used.setdefault((side.name, name), [0.0, 0.0])
                        sums[0] += told["requests"] / told["rows_per_core_second"]
                        sums[1] += told["requests"]
    finally:
        for process in processes:
            stop(process)
    found: dict[str, dict[str, float]] = {}
    for (side_name, name), (spent, requests) in used.items():
        found.setdefault(side_name, {})[name] = 1e6 * spent / requests
    return found


def started(side: Side) -> subprocess.Popen[bytes]:
    """Start a server, which is not up yet."""
    return subprocess.Popen(
        side.command,
        env={**os.environ, **QUIET, **side.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def loaded(
    side: Side, pid: int, texts: Sequence[str], connections: int, rate: float, seconds: float
) -> dict[str, float]:
    """Ask a server for some seconds; return the generator's figures and rows a core second."""
    bodies = [side.asks(text) for text in texts[:1000]]
    order = {"port": side.port, "path": side.path, "bodies": bodies, "rate": rate}
    order |= {"connections": connections, "seconds": seconds}
    before = _processor_seconds(pid)
    told = subprocess.run(
        [sys.executable, str(HERE / "load_generator.py")],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(told.stdout)
    used = _processor_seconds(pid) - before
    return {**figures, "rows_per_core_second": figures["requests"] / used}


def wait_for(side: Side, text: str, process: subprocess.Popen[bytes]) -> None:
    """Return once a server answers."""
    body = json.dumps(side.asks(text)).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{side.port}{side.path}",
        data=body,
        headers={"content-type": "application/json"},
    )
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{side.name} answers {error.code}: {error.read()[:300]!r}") from None
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{side.name} does not answer")


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _processor_seconds(pid: int) -> float:
    ticks = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return what a process and its children have in memory."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _mlserver(asked: argparse.Namespace) -> Path | str:
    """Return MLServer's environment, or why there is none."""
    folder: Path = asked.mlserver_env or ROOT / ".peers" / "mlserver"
    if (folder / "bin" / "mlserver").is_file():
        return folder
    if not asked.install:
        return f"{folder} is not there; --install makes it"
    venv.create(folder, with_pip=True)
    wanted = HERE / "peers" / "mlserver.txt"
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    return folder if done.returncode == 0 else f"cannot be installed: {done.stderr[-200:]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--rows", type=int, default=4000, help="to train on")
    parser.add_argument("--algorithm", default="logistic")
    parser.add_argument("--workers", type=int, default=1, help="of Tidegate's server")
    parser.add_argument("--rates", type=float, nargs="*", default=[50.0, 200.0])
    parser.add_argument("--only", nargs="*", help="sides to measure [all]")
    parser.add_argument("--mlserver-env", type=Path)
    parser.add_argument("--turns", type=int, help="bursts of --seconds each, server by server")
    parser.add_argument("--install", action="store_true", help="make MLServer's environment")
    asked = parser.parse_args()
    mlserver = _mlserver(asked)
    skipped = {} if isinstance(mlserver, Path) else {"mlserver": mlserver}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        texts = train(Path(folder), asked.algorithm, asked.rows)
        env = mlserver if isinstance(mlserver, Path) else None
        every = [
            side
            for side in sides(Path(folder), asked.workers, env)
            if asked.only is None or side.name in asked.only
        ]
        if asked.turns:
            _tell_turns(measure_in_turns(every, texts, asked.seconds, asked.turns))
            return
        for side in every:
            found[side.name] = measure(side, texts, asked.seconds, asked.rates)
            _print(side.name, found[side.name])
    for name, reason in skipped.items():
        print(f"{name} is left out: {reason}")
    summary: dict[str, Any] = {"servers": found, "skipped": skipped, "algorithm": asked.algorithm}
    if {"tidegate", "kserve sklearn"} <= found.keys():
        ours, stock = found["tidegate"], found["kserve sklearn"]
        for load in ("one_connection", "saturated"):
            ratio = ours[load]["rows_per_core_second"] / stock[load]["rows_per_core_second"]
            summary[f"times_stock_{load}"] = ratio
        summary["p99_ms_at_half"] = ours["at_half"]["p99_ms"]
    print(json.dumps(summary))


def _tell_turns(found: dict[str, dict[str, float]]) -> None:
    summary: dict[str, Any] = {"microseconds": found}
    for name, loads in found.items():
        print(f"{name}: " + ", ".join(f"{load} {us:.0f} us" for load, us in loads.items()))
    if {"tidegate", "kserve sklearn"} <= found.keys():
        ours, stock = found["tidegate"], found["kserve sklearn"]
        summary |= {f"times_stock_{load}": stock[load] / ours[load] for load in ours}
    print(json.dumps(summary))


def _print(name: str, found: Mapping[str, Any]) -> None:
    print(
        f"{name}: starts in {found['starts_in_seconds']:.1f} s "
        f"({found['starts_in_processor_seconds']:.1f} s of processor), "
        f"{found['memory_mib']:.0f} MiB"
    )
    loads = {key: found[key] for key in ("one_connection", "saturated", "at_half")}
    loads |= {f"{rate}/s": figures for rate, figures in found["at_rates"].items()}
    for load, told in loads.items():
        print(
            f"  {load:>14}: {told['requests_per_second']:7.0f} rows/s, "
            f"{told['rows_per_core_second']:7.0f} a core, p50 {told['p50_ms']:.1f} "
            f"p95 {told['p95_ms']:.1f} p99 {told['p99_ms']:.1f} ms, {told['failed']} failed",
            flush=True,
        )


if __name__ == "__main__":
    main()
