"""Has a window moved away from the training reference; run in the drift environment.

``python -m tidegate.monitoring.drift --reference R.parquet --window W.parquet --out drift.json …``

This is the one module that imports Alibi Detect, which cannot be installed beside KServe and
therefore has an environment of its own; `tidegate.monitoring.check` starts it there. Alibi Detect
is under the Business Source License 1.1: free for non-production use, while production use needs
a licence from Seldon. Nothing else of Tidegate depends on it.
"""

import argparse
import math
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.window import read_comparable
from tidegate.records import DriftReport, DriftTest
from tidegate.store import write_record

Values = npt.NDArray[np.float64]
_TESTS = 2


def detect_drift(
    reference: Any, window: Any, *, config: MonitorConfig, bundle_version: str
) -> DriftReport:
    """Test a window against the reference, each feature alone and all of them together.

    Two tests share ``config.p_value``, half each, so that a window like the reference is called
    drifted at most that often: two-sample Kolmogorov-Smirnov per feature with Bonferroni's
    correction (Alibi Detect's ``TabularDrift``, all rows), and the kernel two-sample test of
    Gretton et al. (2012), maximum mean discrepancy under permutation (``MMDDrift``, at most
    ``config.max_rows`` rows a side). The window has drifted when either test says so.

    Parameters
    ----------
    reference, window : pandas.DataFrame
        The same finite numeric columns.
    config : MonitorConfig
        Level, sizes and seed.
    bundle_version : str
        Goes into the report.

    Raises
    ------
    BadInput
        If the permutations are too few for the level, or nearly all rows are identical.
    """
    started = time.perf_counter()
    level = config.p_value / _TESTS
    _require_permutations(config, level)
    names = [str(name) for name in reference.columns]
    before, after = reference.to_numpy(np.float64), window.to_numpy(np.float64)
    tests = (
        _tabular(before, after, names, level=level, moved=config.moved_features),
        _kernel(before, after, level=level, config=config),
    )
    return DriftReport(
        bundle_version=bundle_version,
        drifted=any(test.drifted for test in tests),
        reference_rows=len(before),
        window_rows=len(after),
        tests=tests,
        seconds=round(time.perf_counter() - started, 3),
    )


def _require_permutations(config: MonitorConfig, level: float) -> None:
    # Of m permutations the smallest p-value is 1 / (m + 1): with fewer the test never rejects.
    needed = math.ceil(1 / level - 1 - 1e-9)
    if config.permutations < needed:
        raise BadInput(
            "monitor.permutations",
            f"{config.permutations} cannot show a p-value of {level:g}, half of monitor.p_value",
            f"write {needed} or more",
        )


def _tabular(
    before: Values, after: Values, names: Sequence[str], *, level: float, moved: int
) -> DriftTest:
    from alibi_detect.cd.tabular import TabularDrift

    with warnings.catch_warnings():
        # It warns that all features are taken as numeric, which they are.
        warnings.filterwarnings("ignore", message="No `categories_per_feature`")
        detector = TabularDrift(before, p_val=level, correction="bonferroni")
    data = detector.predict(after, drift_type="batch")["data"]
    distances = np.asarray(data["distance"], dtype=np.float64)
    p_values = np.asarray(data["p_val"], dtype=np.float64)
    threshold = float(data["threshold"])
    farthest = [int(i) for i in np.argsort(-distances, kind="stable") if p_values[i] < threshold]
    return DriftTest(
        name="kolmogorov_smirnov_per_feature",
        features=len(names),
        drifted=bool(data["is_drift"]),
        p_value=float(p_values.min()),
        threshold=threshold,
        distance=float(distances.max()),
        moved_features=tuple(names[i] for i in farthest[:moved]),
    )


def _kernel(before: Values, after: Values, *, level: float, config: MonitorConfig) -> DriftTest:
    import torch
    from alibi_detect.cd.mmd import MMDDrift

    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    # One kernel width serves all features, so each is put on the scale of the reference.
    centre, spread = before.mean(axis=0), before.std(axis=0)
    spread[spread == 0] = 1.0
    sides = [
        ((_sample(side, config.max_rows, rng) - centre) / spread).astype(np.float32)
        for side in (before, after)
    ]
    detector = MMDDrift(
        sides[0], backend="pytorch", p_val=level, n_permutations=config.permutations, device="cpu"
    )
    data = detector.predict(sides[1])["data"]
    if not math.isfinite(data["distance"]):
        raise BadInput(
            "drift reference", "most of its rows are identical", "train on rows that differ"
        )
    # Alibi's p-value is the share of permutations at or above the distance and can be 0; with the
    # observed order counted too the level holds (Phipson and Smyth, 2010).
    as_far = round(data["p_val"] * config.permutations)
    p_value = (as_far + 1) / (config.permutations + 1)
    return DriftTest(
        name="maximum_mean_discrepancy",
        features=before.shape[1],
        drifted=p_value <= level,
        p_value=p_value,
        threshold=level,
        distance=float(data["distance"]),
    )


def _sample(values: Values, rows: int, rng: np.random.Generator) -> Values:
    if len(values) <= rows:
        return values
    return values[np.sort(rng.choice(len(values), size=rows, replace=False))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a drift report; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.monitoring.drift")
    for name in ("--reference", "--window", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--bundle-version", required=True)
    parser.add_argument("--settings", default="{}", help="the monitor section, as JSON")
    given = vars(parser.parse_args(arguments))
    try:
        config = _settings(given["settings"])
        reference, window = read_comparable(
            given["reference"], given["window"], min_rows=config.min_rows
        )
        report = detect_drift(
            reference, window, config=config, bundle_version=given["bundle_version"]
        )
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    write_record(given["out"], report)
    return 0


def _settings(text: str) -> MonitorConfig:
    try:
        return MonitorConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the text"
        raise BadInput(f"--settings {key}", first["msg"], "write the monitor section") from None


if __name__ == "__main__":
    sys.exit(main())
