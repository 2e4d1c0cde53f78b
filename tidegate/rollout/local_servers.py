"""Model-server processes and a proxy on this machine, for tests and the demo only."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tidegate.config import ServingConfig
from tidegate.records import Observed, Traffic
from tidegate.rollout.local_proxy import LocalProxy
from tidegate.rollout.model_store import ModelStore
from tidegate.rollout.unit_split import UnitSplit, experiment_name

_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_GRACE_SECONDS = 10
_READY_SECONDS = 2.0


class ServerProcess:
    """One `python -m tidegate.serving` on a free port of loopback.

    Parameters
    ----------
    bundle : Path
        What it serves.
    name : str
        Model name in the URLs.
    log : Path
        File of its output.
    environment : mapping, optional
        Further variables, for tests.
    serving : ServingConfig, optional
        How it answers and what it logs.
    """

    def __init__(
        self,
        bundle: Path,
        name: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        serving: ServingConfig | None = None,
    ) -> None:
        self.name = name
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tidegate.rollout.local_servers", str(os.getpid())),
                    *("--bundle", str(bundle), "--name", name),
                    *("--port", str(port), "--grpc-port", "none"),
                    *(("--settings", serving.model_dump_json()) if serving else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            )

    @property
    def is_ready(self) -> bool:
        """Whether it answers its readiness check."""
        if self.process.poll() is not None:
            return False
        url = f"{self.address}/v2/models/{self.name}/ready"
        try:
            with urllib.request.urlopen(url, timeout=_READY_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self) -> None:
        """End it, gently at first."""
        self.process.terminate()
        try:
            self.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LocalServers:
    """Serves the versions that the traffic names, behind a `LocalProxy`; a context manager.

    A server that ended is started again at the next `route`, so a version that cannot serve shows
    as one that is not ready.

    Parameters
    ----------
    store : ModelStore
        Holds the bundles.
    name : str
        The model.
    proxy : LocalProxy
        Started and stopped with this.
    logs : Path
        Folder of the servers' output.
    serving : ServingConfig, optional
        How they answer and what they log; the defaults without it.
    split_units : bool
        Whether requests that name a unit go by its hash and not by a draw.
    """

    def __init__(
        self,
        store: ModelStore,
        name: str,
        proxy: LocalProxy,
        logs: Path,
        *,
        serving: ServingConfig | None = None,
        split_units: bool = False,
    ) -> None:
        self._serving = serving
        self._split_units = split_units
        self._store = store
        self._name = name
        self._logs = logs
        self._traffic: Traffic | None = None
        self._servers: dict[str, ServerProcess] = {}
        self.proxy = proxy
        self.restarts: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start the proxy."""
        self.proxy.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the proxy and every server."""
        self.proxy.stop()
        for server in self._servers.values():
            server.process.terminate()
        for server in self._servers.values():
            server.stop()

    def route(self, traffic: Traffic) -> None:
        """Start the servers that the traffic needs, set the weights, stop the others."""
        wanted = [traffic.baseline]
        if traffic.candidate is not None:
            wanted.append(traffic.candidate)
        for version in wanted:
            self._keep_running(version)
        share = traffic.candidate_percent / 100 if traffic.candidate is not None else 0.0
        shares = {traffic.baseline: 1 - share}
        if traffic.candidate is not None and share > 0:
            shares[traffic.candidate] = share
        addresses = {version: self._servers[version].address for version in wanted}
        split = None
        if self._split_units and traffic.candidate is not None and share > 0:
            name = experiment_name(self._name, traffic.candidate)
            split = UnitSplit(name, traffic.baseline, traffic.candidate, share)
        self.proxy.route(addresses, {v: s for v, s in shares.items() if s > 0}, split)
        self._traffic = traffic
        for version in [v for v in self._servers if v not in wanted]:
            self._servers.pop(version).stop()

    def observe(self) -> Observed:
        """Return the traffic in force and which versions answer."""
        traffic = self._traffic or Traffic(baseline="")
        baseline = self._servers.get(traffic.baseline)
        candidate = self._servers.get(traffic.candidate or "")
        return Observed(
            traffic=traffic,
            baseline_ready=baseline is not None and baseline.is_ready,
            candidate_ready=candidate is not None and candidate.is_ready,
            settled=self._traffic is not None,
        )

    def address(self, version: str) -> str | None:
        """Return where a version answers, past the proxy; None when it is not served."""
        server = self._servers.get(version)
        return None if server is None else server.address

    def process_id(self, version: str) -> int | None:
        """Return the process that serves a version."""
        server = self._servers.get(version)
        return None if server is None else server.process.pid

    def wait_until_ready(self, version: str, deadline_seconds: float = 60.0) -> bool:
        """Wait for a version to answer; False when it does not in time."""
        until = time.monotonic() + deadline_seconds
        while time.monotonic() < until:
            server = self._servers.get(version)
            if server is not None and server.is_ready:
                return True
            time.sleep(0.1)
        return False

    def _keep_running(self, version: str) -> None:
        server = self._servers.get(version)
        if server is not None and server.process.poll() is None:
            return
        if server is not None:
            self.restarts[version] = self.restarts.get(version, 0) + 1
        folder = self._store.folder_of(self._name) / "versions" / version
        self._servers[version] = ServerProcess(
            folder, self._name, self._logs / f"{version}.log", serving=self._serving
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _end_with(parent: int) -> None:
    """Leave when the process that started this one has gone, however it went."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _main() -> int:
    parent = int(sys.argv.pop(1))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    from tidegate.serving.__main__ import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())
