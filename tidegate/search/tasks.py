"""Work of the search's final stage in processes that can be ended when its time is up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from tidegate.search.process import child


@dataclass(frozen=True)
class Room:
    """What the final stage may use.

    Parameters
    ----------
    slots, threads : int
        How many processes run at once, with how many threads each.
    seconds_left : callable
        Returns what is left of the search's minutes.
    """

    slots: int
    threads: int
    seconds_left: Callable[[], float]


def run_tasks(tasks: Sequence[partial[None]], room: Room, *, preload: Sequence[str]) -> str | None:
    """Run tasks side by side; return why not all of them ended well, None if they did.

    Parameters
    ----------
    tasks : sequence of functools.partial
        Of functions of modules, so that a process can import them; they leave their results on
        disk.
    room : Room
        What still runs when its seconds are over is ended.
    preload : sequence of str
        As for `tidegate.search.process.start_trial`.
    """
    seconds = room.seconds_left()
    deadline = time.monotonic() + seconds
    waiting, running = list(tasks), list[BaseProcess]()
    try:
        while waiting or running:
            if time.monotonic() >= deadline:
                return f"{seconds:.0f} s were not enough"
            while waiting and len(running) < room.slots:
                process = child(waiting.pop(0), (), threads=room.threads, preload=preload)
                running.append(process)
            wait([process.sentinel for process in running], deadline - time.monotonic())
            for process in [process for process in running if process.exitcode is not None]:
                running.remove(process)
                if process.exitcode:
                    return f"a process ended with exit code {process.exitcode}"
    finally:
        for process in running:
            process.kill()
            process.join()
    return None
