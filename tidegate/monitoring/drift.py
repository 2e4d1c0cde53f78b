"""Alibi Detect's tests, in the environment of their own that they need.

``python -m tidegate.monitoring.drift --reference R.parquet --window W.parquet --out drift.json …``

This is the one module that imports Alibi Detect, which cannot be installed beside KServe;
`tidegate.monitoring.check` starts it there. Alibi Detect is under the Business Source License 1.1:
free for non-production use, while production use needs a licence from Seldon. Nothing else of
Tidegate depends on it, and ``monitor.engine: open`` does without.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tidegate.config import MonitorConfig
from tidegate.errors import BadInput
from tidegate.monitoring.detection import Counts, Found, Values, detect_drift
from tidegate.monitoring.open_tests import OpenTests
from tidegate.monitoring.tails import DOUBTFUL
from tidegate.monitoring.window import read_comparable
from tidegate.store import write_record


class AlibiTests:
    """See `tidegate.monitoring.detection.Engine`.

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a drift report; return 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.monitoring.drift")
    for name in ("--reference", "--window", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--bundle-version", required=True)
    parser.add_argument("--level", type=float, help="of this check [monitor.p_value]")
    parser.add_argument("--settings", default="{}", help="the monitor section, as JSON")
    given = vars(parser.parse_args(arguments))
    try:
        config = _settings(given["settings"])
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


def _settings(text: str) -> MonitorConfig:
    try:
        return MonitorConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the text"
        raise BadInput(f"--settings {key}", first["msg"], "write the monitor section") from None


if __name__ == "__main__":
    sys.exit(main())
