"""What every side of `benchmarks/automl.py` does: reads its arguments, is timed, tells.

Runs in each peer's own environment: NumPy and pandas only.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SPLITS = ("train", "validation", "holdout")
_LATENCY_ROWS = 50


@dataclass(frozen=True)
class Side:
    """One side's folder, minutes and cores."""

    name: str
    folder: Path
    minutes: float
    cores: int

    @classmethod
    def asked(cls, name: str, description: str) -> "Side":
        """Read the command line."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--minutes", type=float, required=True)
        parser.add_argument("--cores", type=int, required=True)
        return cls(name, **vars(parser.parse_args()))

    def columns(self) -> dict[str, list[str]]:
        """Return the names of the inputs: ``text`` and ``other``."""
        return json.loads((self.folder / "columns.json").read_text())

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the splits; the holdout has no label."""
        return {split: pd.read_parquet(self.folder / f"{split}.parquet") for split in SPLITS}

    def keep_scores(self, split: str, scores: np.ndarray) -> None:
        """Leave P(violating) of a split's rows, in their order."""
        np.save(self.folder / f"{self.name}_{split}.npy", scores)

    def tell(self, **figures: Any) -> None:
        """Leave the side's own figures."""
        (self.folder / f"{self.name}.json").write_text(json.dumps(figures))


def latency_ms(score: Callable[[Any], Any], rows: Sequence[Any]) -> float:
    """Return the median milliseconds of scoring 50 rows one by one."""
    taken = []
    for place in range(_LATENCY_ROWS):
        row = rows[place % len(rows)]
        began = time.perf_counter()
        score(row)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken))


def one_by_one(table: Any) -> list[Any]:
    """Return the first 50 rows, each as a table or column of one row."""
    return [table.iloc[[place]] for place in range(min(_LATENCY_ROWS, len(table)))]


def folder_bytes(folder: Path) -> int:
    """Return the size of every file below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
