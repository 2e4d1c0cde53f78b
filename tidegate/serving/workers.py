"""Worker processes that share the ports: started, watched, started again, stopped together."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Descriptor that a worker writes a byte to once it listens, by this variable.
READY_VARIABLE = "TIDEGATE_WORKER_READY_FD"
#: Folder where workers leave their figures; prometheus_client reads it when it is imported.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 25.0
#: A worker that ends sooner after its start is not started again at once.
_SHORT_LIFE_SECONDS = 5.0


@dataclass
class _Worker:
    """A process, the descriptor that says when it is ready, and when it was started."""

    process: subprocess.Popen[bytes]
    heard: int
    started: float


def supervise(command: Sequence[str], count: int, announce: Callable[[], None]) -> int:
    """Run `count` processes of a command until SIGTERM or SIGINT; return the exit code.

    The first must come up before the others are started, so that what is wrong with a bundle is
    said once. A worker that dies is started again; ``/metrics`` of any of them adds up all.

    Parameters
    ----------
    command : sequence of str
        Of one worker, that shares its ports.
    count : int
        Worker processes.
    announce : callable
        Called once all listen.
    """
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda sign, _: stopping.append(sign))
    with tempfile.TemporaryDirectory(prefix="tidegate-metrics-") as metrics:
        environment = {**os.environ, METRICS_VARIABLE: metrics}
        workers: list[_Worker] = []
        try:
            for _ in range(count):
                workers.append(_start(command, environment))
                code = _wait_until_ready(workers[-1], stopping)
                if code is not None:
                    return code
            if not stopping:
                announce()
            while not stopping:
                time.sleep(_LOOK_SECONDS)
                _mend(workers, command, environment, Path(metrics))
            return 0
        finally:
            _stop([worker.process for worker in workers])


def say_ready() -> None:
    """Tell the process that started this worker that it listens."""
    with contextlib.suppress(KeyError, OSError):
        descriptor = int(os.environ.pop(READY_VARIABLE))
        os.write(descriptor, b"1")
        os.close(descriptor)


def _start(command: Sequence[str], environment: dict[str, str]) -> _Worker:
    heard, said = os.pipe()
    process = subprocess.Popen(
        command,
        # Closed when this process ends, however it does: the worker ends with it.
        stdin=subprocess.PIPE,
        env={**environment, READY_VARIABLE: str(said)},
        pass_fds=(said,),
        start_new_session=True,
    )
    os.close(said)
    return _Worker(process, heard, time.monotonic())


def _wait_until_ready(worker: _Worker, stopping: Sequence[int]) -> int | None:
    """Return None once the worker listens, its exit code if it never will, 0 if told to stop."""
    try:
        while not stopping:
            readable, _, _ = select.select([worker.heard], [], [], _LOOK_SECONDS)
            if readable:
                return None if os.read(worker.heard, 1) else worker.process.wait()
        return 0
    finally:
        os.close(worker.heard)


def _mend(
    workers: list[_Worker], command: Sequence[str], environment: dict[str, str], metrics: Path
) -> None:
    for place, worker in enumerate(workers):
        code = worker.process.poll()
        if code is None or time.monotonic() - worker.started < _SHORT_LIFE_SECONDS:
            continue
        print(f"worker {worker.process.pid} ended with {code}; starting another", file=sys.stderr)
        # Its counters stay; what it had in hand is gone with it.
        for file in metrics.glob(f"gauge_live*_{worker.process.pid}.db"):
            file.unlink()
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        workers[place] = _start(command, environment)
        os.close(workers[place].heard)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
