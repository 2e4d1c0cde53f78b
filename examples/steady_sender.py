"""Clients of a model server on this machine: one request a text, at a steady rate."""

import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Self


class SteadySender:
    """Sends texts over and over, from threads of its own, while the context lasts.

    Parameters
    ----------
    address : str
        Of the server or proxy.
    name : str
        The model.
    texts : sequence of str
        What is sent, one a request.
    per_second : float
        Requests a second, as far as the answers come that fast.
    threads : int
        Clients at once.
    """

    def __init__(
        self, address: str, name: str, texts: Sequence[str], *, per_second: float, threads: int = 2
    ) -> None:
        self._url = f"{address}/v2/models/{name}/infer"
        self._texts = itertools.cycle(texts)
        self._pause = threads / per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]
        self.answered = 0
        self.failed = 0

    def __enter__(self) -> Self:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop sending."""
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def _send(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            with self._lock:
                text = next(self._texts)
            failed = not self._ask(text)
            with self._lock:
                self.failed += failed
                self.answered += not failed
            self._stop.wait(max(0.0, self._pause - (time.monotonic() - began)))

    def _ask(self, text: str) -> bool:
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
        request = urllib.request.Request(
            self._url,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def wait_until_ready(address: str, name: str, deadline_seconds: float = 90.0) -> None:
    """Wait for a model to be ready.

    Raises
    ------
    TimeoutError
        If it does not in time.
    """
    until = time.monotonic() + deadline_seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/v2/models/{name}/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise TimeoutError(f"{address} was not ready after {deadline_seconds:g} s")
