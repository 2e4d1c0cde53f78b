"""Alibi Detect's tests, in the environment of their own that they need.

``python -m tidegate.monitoring.drift --reference R.parquet --window W.parquet --out drift.json …``

This is the one module that imports Alibi Detect, which cannot be installed beside KServe;
`tidegate.monitoring.check` starts it there. Alibi Detect is under the Business Source License 1.1:
free for non-production use, while production use needs a licence from Seldon. Nothing else of
Tidegate depends on it, and ``monitor.engine: open`` does without.
"""

import argparse
import contextlib
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from pydantic import ValidationError

from tidegate.config import MonitorConfig, OnlineConfig
from tidegate.errors import BadInput
from tidegate.monitoring.detection import detect_drift
from tidegate.monitoring.engine import Counts, Found, Values
from tidegate.monitoring.online import direction_of
from tidegate.monitoring.online_state import read_online_state, step
from tidegate.monitoring.online_view import Rows, View
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.tails import DOUBTFUL
from tidegate.monitoring.window import read_comparable
from tidegate.records import OnlineState, OnlineStream
from tidegate.store import read_table, write_record

# Alibi Detect's own 3 epochs at 0.001 leave its place where it began.
_SPARSE, _LEARNING_RATE, _EPOCHS = 0.01, 0.02, 15


class AlibiTests:
    """See `tidegate.monitoring.engine.Engine`.

    Parameters
    ----------
    seed, permutations : int
        Of the kernel test; where these leave a doubt, `OpenTests` makes more of them.
    """

    name = "alibi"

    def __init__(self, seed: int, permutations: int) -> None:
        self._seed, self._permutations = seed, permutations

    def continuous(self, before: Values, after: Values) -> list[Found]:
        """Two-sample Kolmogorov-Smirnov per column (``KSDrift``)."""
        from alibi_detect.cd import KSDrift

        data = KSDrift(before).predict(after, drift_type="feature")["data"]
        return [
            Found(float(p_value), float(distance))
            for p_value, distance in zip(data["p_val"], data["distance"], strict=True)
        ]

    def categorical(self, before: Counts, after: Counts) -> Found:
        """Chi-square of homogeneity (``ChiSquareDrift``), Fisher's test of two (``FETDrift``)."""
        from alibi_detect.cd import ChiSquareDrift, FETDrift

        seen = (before + after) > 0
        first, second = before[seen], after[seen]
        if len(first) < 2 or not (first.sum() and second.sum()):
            return Found(1.0, 0.0)
        categories = np.arange(len(first))
        sides = [np.repeat(categories, counts)[:, None] for counts in (first, second)]
        if len(first) == 2:
            detector = FETDrift(sides[0], alternative="two-sided")
        else:
            detector = ChiSquareDrift(sides[0], categories_per_feature={0: len(first)})
        data = detector.predict(sides[1], drift_type="feature")["data"]
        shares = [counts / counts.sum() for counts in (first, second)]
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        return Found(float(np.asarray(data["p_val"]).ravel()[0]), distance)

    def kernel(self, before: Values, after: Values, *, level: float) -> Found:
        """Maximum mean discrepancy under permutation (``MMDDrift``)."""
        found = self._permuted(before, after, self._permutations)
        if found.p_value <= max(DOUBTFUL, level):
            # The second, longer test decides alone, whatever the first said. Alibi Detect copies
            # the kernel matrix for every permutation, which at so many takes minutes, and takes
            # its kernel's width from the reference alone, so that its permutations are not alike.
            longer = OpenTests(self._seed).kernel(before, after, level=level)
            return Found(longer.p_value, found.distance)
        return found

    def _permuted(self, before: Values, after: Values, permutations: int) -> Found:
        import torch
        from alibi_detect.cd.mmd import MMDDrift

        torch.manual_seed(self._seed)
        sides = [side.astype(np.float32) for side in (before, after)]
        detector = MMDDrift(sides[0], backend="pytorch", n_permutations=permutations, device="cpu")
        data = detector.predict(sides[1])["data"]
        if not math.isfinite(data["distance"]):
            raise BadInput(
                "drift reference", "most of its rows are identical", "train on rows that differ"
            )
        # Alibi's p-value is the share of permutations at or above the distance and can be 0; with
        # the observed order counted too the level holds (Phipson and Smyth, 2010).
        as_far = round(data["p_val"] * permutations)
        return Found((as_far + 1) / (permutations + 1), float(data["distance"]))

    def classifier(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Logistic regression's scores of rows it has not seen (``ClassifierDrift``)."""
        from alibi_detect.cd import ClassifierDrift
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=200)
        detector = ClassifierDrift(
            before,
            model,
            backend="sklearn",
            preds_type="probs",
            binarize_preds=False,
            train_size=0.5,
            seed=self._seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = detector.predict(after)["data"]
        weights = np.abs(detector._detector.model.coef_[0])
        return Found(float(data["p_val"]), float(data["distance"])), weights

    def spot_the_diff(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Nearness to a learned place (``SpotTheDiffDrift``)."""
        from alibi_detect.cd import SpotTheDiffDrift

        detector = SpotTheDiffDrift(
            before.astype(np.float32),
            backend="pytorch",
            train_size=0.5,
            l1_reg=_SPARSE,
            learning_rate=_LEARNING_RATE,
            epochs=_EPOCHS,
            seed=self._seed,
            device="cpu",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = detector.predict(after.astype(np.float32))["data"]
        weights = np.abs(data["diff_coeffs"][:, None] * data["diffs"]).sum(axis=0)
        return Found(float(data["p_val"]), float(data["distance"])), np.asarray(weights, np.float64)

    def outlyingness(self, norm: Values, rows: Values) -> Values:
        """Distance by the norm's covariance (``Mahalanobis``)."""
        # The name that `alibi_detect.od` offers is of a detector that learns from what it judges.
        from alibi_detect.od._mahalanobis import Mahalanobis

        detector = Mahalanobis(device="cpu")
        detector.fit(norm)
        return np.asarray(detector.score(rows), np.float64)


class AlibiOnline:
    """Alibi Detect's online detectors; see `tidegate.monitoring.online.OnlineEngine`.

    Their thresholds are ours: theirs take minutes to find, again whenever a detector is made, and
    reach run times of a few thousand rows.
    """

    name = "alibi"

    def __init__(self, config: OnlineConfig) -> None:
        self._windows = list(config.window_rows)

    def statistic(self, stream: OnlineStream, view: View, rows: Rows) -> Values:
        """See `tidegate.monitoring.online.OnlineEngine`."""
        if stream.detector == "mmd":
            kernel = self._mmd(view)
            return np.array([kernel.score(row) for row in rows.points.astype(np.float32)])
        detector, cells = self._univariate(stream, view, rows)
        found = []
        for cell in cells:
            told = detector.predict(np.array([cell]))["data"]["test_stat"]
            found.append(-np.inf if np.isnan(told).all() else float(np.nanmax(told)))
        return np.array(found)

    def _univariate(self, stream: OnlineStream, view: View, rows: Rows) -> tuple[Any, Values]:
        from alibi_detect.cd import CVMDriftOnline, FETDriftOnline

        common = {"ert": stream.run_rows, "window_sizes": self._windows, "verbose": False}
        if stream.detector == "cvm":
            known = np.arange(view.rows, dtype=np.float64)
            with _uncalibrated(CVMDriftOnline):
                detector = CVMDriftOnline(known, **common)
            return detector, rows.places[:, view.numbers.index(stream.feature)]
        name, more = direction_of(stream)
        marked = np.arange(view.rows) < view.marked[name]
        with _uncalibrated(FETDriftOnline):
            detector = FETDriftOnline(marked, alternative="greater" if more else "less", **common)
        return detector, rows.marks[:, view.shares.index(name)].astype(bool)

    def _mmd(self, view: View) -> Any:
        from alibi_detect.cd.pytorch.mmd_online import MMDDriftOnlineTorch

        def begin(detector: Any) -> None:
            detector.ref_inds = np.arange(len(view.norm))
            detector.init_test_inds = np.arange(len(view.norm), detector.n)
            detector._initialise_state()
            detector.k_xx_sub_sum = view.within

        with _uncalibrated(MMDDriftOnlineTorch, _configure_ref_subset=begin):
            return MMDDriftOnlineTorch(
                np.concatenate([view.norm, view.first]).astype(np.float32),
                ert=1.0,
                window_size=self._windows[-1],
                sigma=np.array([view.width], dtype=np.float32),
                device="cpu",
                verbose=False,
            )


@contextlib.contextmanager
def _uncalibrated(kind: Any, **instead: Any) -> Iterator[None]:
    """Let detectors be made without thresholds of their own."""

    def never(detector: Any) -> None:
        detector.thresholds = np.full((1, 1), np.inf)

    with contextlib.ExitStack() as stack:
        for name, method in {"_configure_thresholds": never, **instead}.items():
            stack.enter_context(mock.patch.object(kind, name, method))
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a drift report; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.monitoring.drift")
    for name in ("--reference", "--window", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--bundle-version", required=True)
    parser.add_argument("--level", type=float, help="of this check [monitor.p_value]")
    parser.add_argument("--online", type=Path, help="folder of state.json: rows are a stream")
    parser.add_argument("--until", default="", help="up to where the stream is then read")
    parser.add_argument("--threshold", type=float, help="from which on a row is flagged")
    parser.add_argument("--settings", default="{}", help="the monitor section, as JSON")
    given = vars(parser.parse_args(arguments))
    try:
        config = _settings(given["settings"])
        if given["online"] is not None:
            write_record(given["out"], _stepped(given, config))
            return 0
        reference, window = read_comparable(
            given["reference"], given["window"], min_rows=config.min_rows
        )
        engine = (
            AlibiTests(config.seed, config.permutations)
            if config.engine == "alibi"
            else OpenTests(config.seed)
        )
        report = detect_drift(
            reference,
            window,
            engine=engine,
            level=config.p_value if given["level"] is None else given["level"],
            config=config,
            bundle_version=given["bundle_version"],
        )
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    write_record(given["out"], report)
    return 0


def _stepped(given: dict[str, Any], config: MonitorConfig) -> OnlineState:
    """Read a stream's rows, which come as watched tables that were found usable."""
    return step(
        read_online_state(given["online"] / "state.json"),
        read_table(given["reference"]),
        read_table(given["window"]),
        until=given["until"],
        engine=AlibiOnline(config.online),
        config=config,
        threshold=given["threshold"],
        bundle_version=given["bundle_version"],
    ).state


def _settings(text: str) -> MonitorConfig:
    try:
        return MonitorConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the text"
        raise BadInput(f"--settings {key}", first["msg"], "write the monitor section") from None


if __name__ == "__main__":
    sys.exit(main())
