"""A trial in a process of its own, so that it can crash or be ended without the search.

The processes are forked from a server that has imported the heavy modules once. Each ends with
the search's process, however that ends: a thread waits on the parent and leaves.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.models.interface import Setting
from tidegate.records import CurvePoint, Params, TrialResult
from tidegate.search.curve import curve_verdict
from tidegate.search.medianstop import StopRule
from tidegate.search.memory import held_gib

_PRELOAD = ("tidegate.search.trial", "scipy.sparse", "pandas", "pyarrow.parquet", "sklearn.metrics")
_MESSAGE: TypeAdapter[CurvePoint | TrialResult] = TypeAdapter(CurvePoint | TrialResult)


@dataclass(frozen=True)
class TrialOrder:
    """What a trial's process is to do; everything here crosses to it."""

    number: int
    algorithm: str
    params: Params
    stop_rule: StopRule | None
    setting: Setting
    features_folder: Path
    out: Path
    memory_gib: float = float("inf")


@dataclass
class TrialProcess:
    """A running trial."""

    order: TrialOrder
    connection: Connection
    process: multiprocessing.process.BaseProcess
    started: float = field(default_factory=time.monotonic)
    _curve: list[CurvePoint] = field(default_factory=list)

    def collect(self) -> TrialResult | None:
        """Take in what the process sent; return its result once it has ended."""
        try:
            while self.connection.poll():
                message = _MESSAGE.validate_json(self.connection.recv_bytes())
                if isinstance(message, TrialResult):
                    self._close(grace_seconds=5)
                    return message
                self._curve.append(message)
        except (EOFError, OSError):
            self._close(grace_seconds=5)
            code = self.process.exitcode
            return self._ended("failed", f"the trial's process ended with exit code {code}")
        return None

    def end(self) -> TrialResult:
        """Kill the process and return what it had reported."""
        self._close(grace_seconds=0)
        return self._ended("out_of_time", None)

    def end_if_too_large(self) -> TrialResult | None:
        """Kill a process that holds more memory than its order allows; None for any other."""
        held = held_gib(self.process.pid or 0)
        if held <= self.order.memory_gib:
            return None
        self._close(grace_seconds=0)
        return self._ended(
            "out_of_memory",
            f"it held {held:.2f} GiB of memory and its limit is {self.order.memory_gib:g}: "
            "raise search.memory_gib or give it fewer rows",
        )

    def _close(self, grace_seconds: float) -> None:
        self.process.join(grace_seconds)
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _ended(self, status: str, error: str | None) -> TrialResult:
        return TrialResult.model_validate(
            {
                "number": self.order.number,
                "algorithm": self.order.algorithm,
                "params": self.order.params,
                "status": status,
                "curve": self._curve,
                "seconds": time.monotonic() - self.started,
                "error": error,
                "verdict": curve_verdict(self._curve),
            }
        )


def start_trial(order: TrialOrder, preload: Sequence[str]) -> TrialProcess:
    """Start a trial's process.

    Parameters
    ----------
    preload : sequence of str
        Modules that the first call has imported once for this and all later trials.
    """
    receiving, sending = multiprocessing.get_context("forkserver").Pipe(duplex=False)
    process = child(_run, (order, sending), threads=order.setting.threads, preload=preload)
    sending.close()
    return TrialProcess(order, receiving, process)


def child(
    target: Callable[..., None], arguments: tuple[Any, ...], *, threads: int, preload: Sequence[str]
) -> multiprocessing.process.BaseProcess:
    """Start a process that ends with this one and keeps to so many threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOAD, *preload])
    process = context.Process(target=_guarded, args=(target, arguments), daemon=True)
    with _environment(_quiet_threads(threads)), _nameless_main():
        process.start()
    return process


def wait_for_any(trials: Sequence[TrialProcess], timeout_seconds: float | None) -> None:
    """Wait until one of the trials sends or ends, at most so long."""
    wait([trial.connection for trial in trials], timeout_seconds)


def _guarded(target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search decides when its trials end
    _leave_with_parent()
    target(*arguments)


def _run(order: TrialOrder, sending: Connection) -> None:
    from tidegate.search.trial import run_trial

    started = time.monotonic()

    def send(message: CurvePoint | TrialResult) -> None:
        sending.send_bytes(message.model_dump_json().encode())

    try:
        result = run_trial(
            order.features_folder,
            find_algorithm(order.algorithm),
            order.params,
            number=order.number,
            setting=order.setting,
            out=order.out,
            report=send,
            stop_rule=order.stop_rule,
        )
    except BaseException as error:
        last_line = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
        send(
            TrialResult(
                number=order.number,
                algorithm=order.algorithm,
                params=order.params,
                status="failed",
                seconds=time.monotonic() - started,
                error=last_line,
            )
        )
        raise
    send(result)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def _quiet_threads(threads: int) -> Mapping[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # Threads that spin while they wait take the core from the trial beside them.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Keep children from importing the script that runs the search; they need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
