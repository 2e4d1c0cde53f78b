"""Whether production moved away from training."""

from tidegate.records.record import Record


class DriftTest(Record):
    """One test of the window against the reference."""

    name: str
    features: int
    drifted: bool
    p_value: float
    threshold: float
    distance: float | None
    moved_features: tuple[str, ...] = ()


class DriftReport(Record):
    """``drift.json``: whether the window moved away from the training reference."""

    bundle_version: str
    drifted: bool
    reference_rows: int
    window_rows: int
    tests: tuple[DriftTest, ...]
    seconds: float
