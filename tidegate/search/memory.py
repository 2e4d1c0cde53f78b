"""How much memory a process holds for itself."""

import os
from pathlib import Path

_KIB_A_GIB, _BYTES_A_GIB = 1024**2, 1024**3


def held_gib(pid: int) -> float:
    """Return a process's resident memory in GiB without mapped files; 0 for one that is gone.

    Feature matrices that trials map from disk are shared and can be dropped at any time, so they
    are no trial's own.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    kib = [int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in fields]
    return sum(kib) / _KIB_A_GIB


def machine_gib() -> float:
    """Return the memory this process may use: the machine's, within its cgroup's limit."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    machine = pages * page_bytes / _BYTES_A_GIB
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return machine
    return machine if limit == "max" else min(machine, int(limit) / _BYTES_A_GIB)
