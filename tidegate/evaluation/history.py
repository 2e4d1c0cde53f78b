"""What earlier retrains found: how often a holdout was used, and the golden set's figures.

``evaluations.jsonl`` beside a model's releases holds one `PastEvaluation` a line, oldest first. A
run that is repeated takes the place of its own line: it decided nothing anew.
"""

import fcntl
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.errors import BadInput
from tidegate.records import PastEvaluation
from tidegate.store import digest_bytes, digest_json, write_text

_FILE = "evaluations.jsonl"


def read_history(folder: Path) -> tuple[PastEvaluation, ...]:
    """Return the evaluations of one model, oldest first.

    Raises
    ------
    BadInput
        If a line is none.
    """
    path = folder / _FILE
    if not path.exists():
        return ()
    try:
        return tuple(
            PastEvaluation.model_validate_json(line)
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    except ValidationError:
        raise BadInput(
            str(path), "has a line that is no evaluation", "restore the file or remove it"
        ) from None


def add_to_history(folder: Path, entry: PastEvaluation) -> None:
    """Write an evaluation down; writers wait for each other, and readers see whole files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".evaluations.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = (*earlier(read_history(folder), entry.run_digest), entry)
        write_text(folder / _FILE, "".join(f"{e.model_dump_json()}\n" for e in entries))


def earlier(history: Sequence[PastEvaluation], run_digest: str) -> tuple[PastEvaluation, ...]:
    """Return the evaluations of other runs."""
    return tuple(entry for entry in history if entry.run_digest != run_digest)


def rows_digest(scored: Any) -> str:
    """Return the digest of which rows a scored table holds, whatever they score."""
    parts = [digest_bytes(scored["label"].to_numpy().astype("int8").tobytes())]
    if "id" in scored.columns:
        parts.append(digest_bytes("\n".join(scored["id"].astype(str)).encode()))
    return digest_json(parts)


def holdout_uses(history: Sequence[PastEvaluation], digest: str) -> int:
    """Count the decisions that this holdout was used for, the present one included."""
    return 1 + sum(entry.holdout_digest == digest for entry in history)


def worn_holdouts(history: Sequence[PastEvaluation], most: int) -> int:
    """Count the holdouts that as many decisions went by as are allowed."""
    uses = Counter(entry.holdout_digest for entry in history)
    return sum(times >= most for times in uses.values())


def overuse(uses: int, most: int) -> str | None:
    """Say that a holdout was used too often to be taken for fresh; None while it was not.

    References
    ----------
    Dwork et al., "The reusable holdout", Science 349, 2015: figures of a holdout that decisions
    went by are flattered by those decisions.
    """
    if uses <= most:
        return None
    return (
        f"This holdout has been used for {uses} decisions (policy.max_holdout_uses: {most}): its "
        "figures flatter more with every one. Label fresh rows, or set another data.split.seed."
    )
