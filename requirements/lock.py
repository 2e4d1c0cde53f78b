"""Recompile the locks, without addresses and without a CUDA package where there is no GPU.

``python requirements/lock.py [NAME ...]`` compiles all, or those named. Needs `uv` on the path:
``pip install uv``. Each lock is compiled into a fresh file: over an old one a resolver keeps what
it finds there.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: The role locks come last: they take their versions from dev.txt.
LOCKS = ("dev", "monitor", "cpu", "gpu", "serving")
WITH_CUDA = {"gpu"}
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


def compile_lock(name: str) -> str:
    """Return the text of the lock for one list of requirements."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "lock.txt"
        subprocess.run(
            [
                *("uv", "pip", "compile", f"{name}.in", "--output-file", str(target)),
                *("--python-version", "3.11", "--no-header", "--annotation-style", "line"),
                *("--no-emit-index-url", "--no-emit-find-links", "--quiet"),
                # The CPU build of torch names none of the packages that its CUDA build loads.
                *([] if name in WITH_CUDA else find_links()),
            ],
            cwd=HERE,
            check=True,
        )
        # That a version came from dev.txt is said once, in the .in file.
        text = re.sub(
            r", -c dev\.txt|-c dev\.txt, ",
            "",
            target.read_text(encoding="utf-8").replace("+cpu", ""),
        )
    if name not in WITH_CUDA and (found := CUDA.search(text)):
        sys.exit(f"{name}.in: a CUDA package ({found[0]}…) came into a CPU lock; pin its parent")
    return text


def main(names: Sequence[str]) -> None:
    """Compile and write the locks named, or all."""
    for name in names or LOCKS:
        (HERE / f"{name}.txt").write_text(compile_lock(name), encoding="utf-8")
        print(f"wrote requirements/{name}.txt")


if __name__ == "__main__":
    main(sys.argv[1:])
