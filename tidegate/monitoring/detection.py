"""Has a window moved away from the reference: which tests, at which level, by whichever engine.

Every test is a p-value of "these rows come from where the reference comes from". The tests of a
check share its level, so that the whole check errs at most that often, and the checks of a year
share the false alarms that the configuration allows. An expectation adds up whatever depends on
what, so neither the common reference nor overlapping windows spoil the sum. What an engine only
approximates is made exact (`tidegate.monitoring.tails`) before it may alarm.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tidegate.config import MonitorConfig
from tidegate.monitoring.engine import Counts, Engine, Found, Values
from tidegate.monitoring.outliers import entropy, outlier_test
from tidegate.monitoring.tails import homogeneity, kolmogorov_smirnov
from tidegate.records import (
    CATEGORY_PREFIX,
    COMPONENT_PREFIX,
    LABEL_DELAY,
    NUMBER_PREFIX,
    SCORE,
    DriftReport,
    DriftTest,
)

_DAYS_A_YEAR = 365.25
# How often a category is seen on both sides and still rare.
_RARE = 5


def check_level(config: MonitorConfig) -> float:
    """Return the level of one check, if the year's checks may err as often as is configured.

    A check is made at every window's end, over the latest windows of each of `config.scales`.
    """
    checks = _DAYS_A_YEAR / config.window_days * len(config.scales)
    return min(0.5, config.false_alarms_per_year / checks)


def detect_drift(
    reference: Any,
    window: Any,
    *,
    engine: Engine,
    level: float,
    config: MonitorConfig,
    bundle_version: str,
) -> DriftReport:
    """Test a window against the reference.

    Parameters
    ----------
    reference, window : pandas.DataFrame
        Watched columns, as `tidegate.monitoring.window.read_comparable` returns them.
    engine : Engine
        Whose tests.
    level : float
        Of the whole check: the families of tests share it evenly, and a family's features share
        its part (Bonferroni).
    config : MonitorConfig
        Sizes and seed.
    bundle_version : str
        Goes into the report.

    Returns
    -------
    DriftReport
        The window has drifted when any test says so.
    """
    started = time.perf_counter()
    families = _families(reference, window, config)
    share = level / len(families)
    tests = tuple(
        _test(name, names, reference, window, engine, share, config)
        for name, names in families.items()
    )
    return DriftReport(
        bundle_version=bundle_version,
        drifted=any(test.drifted for test in tests),
        reference_rows=len(reference),
        window_rows=len(window),
        tests=tests,
        seconds=round(time.perf_counter() - started, 3),
        engine=engine.name,
        level=level,
    )


def _families(reference: Any, window: Any, config: MonitorConfig) -> dict[str, list[str]]:
    """Return the features of each family that is asked for; one without any is left out."""

    def named(*prefixes: str) -> list[str]:
        return [str(name) for name in reference.columns if str(name).startswith(prefixes)]

    components, typed = named(COMPONENT_PREFIX), named(NUMBER_PREFIX, CATEGORY_PREFIX)
    families = {
        "kolmogorov_smirnov_per_component": components,
        "score": [name for name in reference.columns if name == SCORE],
        "uncertainty": [name for name in reference.columns if name == SCORE],
        "number": named(NUMBER_PREFIX),
        "category": named(CATEGORY_PREFIX),
        "missing": [n for n in typed if reference[n].isna().any() or window[n].isna().any()],
        "maximum_mean_discrepancy": components,
        "classifier": [*components, *named(NUMBER_PREFIX)],
        "outlier": [*components, *named(NUMBER_PREFIX)],
        "spot_the_diff": [*components, *named(NUMBER_PREFIX)],
        LABEL_DELAY: [name for name in reference.columns if name == LABEL_DELAY],
    }
    asked = {*config.families, LABEL_DELAY}
    return {name: features for name, features in families.items() if features and name in asked}


def _test(
    name: str,
    features: Sequence[str],
    reference: Any,
    window: Any,
    engine: Engine,
    level: float,
    config: MonitorConfig,
) -> DriftTest:
    """Run one family at its level."""
    if name == "outlier":
        return outlier_test(features, reference, window, engine, level, config)
    if name in ("maximum_mean_discrepancy", "classifier", "spot_the_diff"):
        before, after = _standardised(reference[list(features)], window[list(features)], config)
        if name != "maximum_mean_discrepancy":
            learner = engine.classifier if name == "classifier" else engine.spot_the_diff
            found, weights = learner(before, after, level=level)
            order = np.argsort(-weights, kind="stable")
            moved = [features[i] for i in order if weights[i] > 0]
        else:
            found, moved = engine.kernel(before, after, level=level), []
        drifted = found.p_value <= level
        return DriftTest(
            name=name,
            features=len(features),
            drifted=drifted,
            p_value=found.p_value,
            threshold=level,
            distance=found.distance,
            moved_features=tuple(moved[: config.moved_features]) if drifted else (),
        )
    threshold = level / len(features)
    sure = _Sure(engine, threshold, config.seed)
    each = dict(_one_by_one(name, features, reference, window, sure))
    farthest = sorted(each, key=lambda feature: -each[feature].distance)
    moved = [feature for feature in farthest if each[feature].p_value <= threshold]
    return DriftTest(
        name=name,
        features=len(features),
        drifted=bool(moved),
        p_value=min(found.p_value for found in each.values()),
        threshold=threshold,
        distance=max(found.distance for found in each.values()),
        moved_features=tuple(moved[: config.moved_features]),
    )


class _Sure(NamedTuple):
    """An engine's tests of single columns, exact up to a level."""

    engine: Engine
    level: float
    seed: int

    def continuous(self, before: Values, after: Values) -> list[Found]:
        found = self.engine.continuous(before, after)
        return [
            test._replace(
                p_value=kolmogorov_smirnov(before[:, i], after[:, i], distance=test.distance)
            )
            if test.p_value <= self.level
            else test
            for i, test in enumerate(found)
        ]

    def categorical(self, before: Counts, after: Counts) -> Found:
        found = self.engine.categorical(before, after)
        p_value = homogeneity(
            before, after, approximate=found.p_value, level=self.level, seed=self.seed
        )
        return found._replace(p_value=p_value)


def _one_by_one(
    name: str, features: Sequence[str], reference: Any, window: Any, sure: _Sure
) -> Iterator[tuple[str, Found]]:
    if name in ("category", "missing"):
        for feature in features:
            sides = [table[feature] for table in (reference, window)]
            if name == "missing":
                counts = [np.bincount(side.isna(), minlength=2) for side in sides]
                yield feature, sure.categorical(counts[0], counts[1])
            else:
                yield feature, sure.categorical(*_counts(*sides))
        return
    before, after = (table[list(features)].to_numpy(np.float64) for table in (reference, window))
    if name == "uncertainty":
        before, after = entropy(before), entropy(after)
    if name == "number":
        for column, feature in enumerate(features):
            sides = [side[:, [column]] for side in (before, after)]
            known = [side[~np.isnan(side[:, 0])] for side in sides]
            if all(len(side) for side in known):
                yield feature, sure.continuous(*known)[0]
            else:
                yield feature, Found(1.0, 0.0)  # all missing: that is another family's to say
        return
    yield from zip(features, sure.continuous(before, after), strict=True)


def _counts(before: Any, after: Any) -> tuple[Counts, Counts]:
    """Count two columns' categories; those that are rare on both sides together are one.

    The rule sees both sides alike, so that under no change chance alone deals a row to a side.
    """
    counted: Mapping[Any, int] = before[before.notna()].value_counts().to_dict()
    later: Mapping[Any, int] = after[after.notna()].value_counts().to_dict()
    first, second = (
        np.array([side.get(category, 0) for category in {**counted, **later}], dtype=np.int64)
        for side in (counted, later)
    )
    rare = first + second <= _RARE
    return (
        np.append(first[~rare], first[rare].sum()),
        np.append(second[~rare], second[rare].sum()),
    )


def _standardised(before: Any, after: Any, config: MonitorConfig) -> tuple[Values, Values]:
    """Return both sides on their common scale, missing cells at the mean, and cut in size.

    The reference's scale would tell the sides apart where nothing changed: an outlier is far on
    it only if it is the window's.
    """
    first, second = (side.to_numpy(np.float64) for side in (before, after))
    both = np.concatenate([first, second])
    known = ~np.isnan(both).all(axis=0)
    centre, spread = np.zeros(both.shape[1]), np.zeros(both.shape[1])
    centre[known], spread[known] = (
        np.nanmean(both[:, known], axis=0),
        np.nanstd(both[:, known], axis=0),
    )
    spread[spread == 0] = 1.0
    rng = np.random.default_rng(config.seed)
    sides = []
    for side in (first, second):
        if len(side) > config.max_rows:
            side = side[np.sort(rng.choice(len(side), size=config.max_rows, replace=False))]
        sides.append(np.nan_to_num((side - centre) / spread))
    return sides[0], sides[1]
