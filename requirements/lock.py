"""Recompile the locks, without addresses and without a CUDA package.

Needs `uv` on the path of the interpreter that runs it: ``pip install uv``. Each lock is compiled
into a fresh file: over an old one a resolver keeps what it finds there.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCKS = {"dev": "dev.in", "monitor": "monitor.in"}
CUDA = re.compile(r"^(nvidia|cuda|triton)", re.MULTILINE)


def find_links() -> list[str]:
    """Return pip's own find-links, which uv does not read; the CPU build of torch may be there."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"],
        capture_output=True,
        text=True,
        check=False,
    )
    folders = os.environ.get("PIP_FIND_LINKS", asked.stdout).split()
    return [word for folder in folders for word in ("--find-links", folder)]


def compile_lock(source: Path) -> str:
    """Return the text of the lock for one list of requirements."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "lock.txt"
        subprocess.run(
            [
                *("uv", "pip", "compile", source.name, "--output-file", str(target)),
                *("--python-version", "3.11", "--no-header", "--annotation-style", "line"),
                *("--no-emit-index-url", "--no-emit-find-links", "--quiet", *find_links()),
            ],
            cwd=source.parent,
            check=True,
        )
        text = target.read_text(encoding="utf-8").replace("+cpu", "")
    if found := CUDA.search(text):
        sys.exit(f"{source.name}: a CUDA package ({found[0]}…) came into a CPU lock; pin torch")
    return text


if __name__ == "__main__":
    for name, source in LOCKS.items():
        (HERE / f"{name}.txt").write_text(compile_lock(HERE / source), encoding="utf-8")
        print(f"wrote requirements/{name}.txt")
