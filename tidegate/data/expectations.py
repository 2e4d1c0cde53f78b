"""What a snapshot has to look like: derived from the configuration and a norm, before any check.

The norm is the snapshot of an earlier run, or this snapshot's own training split. Breaking a rule
of the configuration is critical; moving away from the norm is a warning.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from tidegate.config import DataConfig, SplitRule, ValidationConfig
from tidegate.records import (
    GROUP_PREFIX,
    ID,
    LABEL,
    SPLITS,
    TIME,
    WEIGHT,
    Column,
    Expectation,
    Snapshot,
    SplitName,
    ValidationReport,
)

_BLANK = r"^\s*$"
_STORED = {"text": "str", "categorical": "str", "numeric": "float64"}
# No post is older than the web; an earlier time is most often a count in the wrong unit.
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Planned:
    """One expectation to check, in Great Expectations' own name and arguments.

    `column` is a column of the frame that `prepare_frame` makes; None stands for the table.
    `expected` says the same for people.
    """

    name: str
    column: str | None
    severity: Literal["critical", "warning"]
    expected: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def plan_expectations(
    snapshot: Snapshot,
    split: SplitName,
    *,
    reference: Snapshot | None,
    config: ValidationConfig,
    data: DataConfig,
    now: datetime,
) -> tuple[Planned, ...]:
    """Derive everything that one split of a snapshot has to meet.

    Parameters
    ----------
    reference : Snapshot or None
        An earlier snapshot as the norm; None takes this snapshot's training split, which is then
        not compared with itself.
    now : datetime
        No row may be later than this.
    """
    norm = snapshot if reference is None else reference
    planned = [
        *_table_rules(snapshot, norm, config, data),
        *_role_rules(snapshot, split, data, now),
    ]
    planned += _text_rules(snapshot, config)
    if config.prevalence_range is not None:
        low, high = config.prevalence_range
        planned.append(_prevalence(low, high, "critical"))
    if reference is not None or split != "train":
        planned += _norm_rules(snapshot, norm, config)
    return tuple(planned)


def _table_rules(
    snapshot: Snapshot, norm: Snapshot, config: ValidationConfig, data: DataConfig
) -> Iterator[Planned]:
    yield Planned(
        "expect_table_row_count_to_be_between",
        None,
        "critical",
        f"at least {config.min_rows} rows",
        {"min_value": config.min_rows},
    )
    kinds = {column.name: column.kind for column in snapshot.columns}
    kinds |= {c.name: c.kind for c in norm.columns if c.name in kinds or _wanted(c, data)}
    roles = [ID, LABEL, WEIGHT, *(GROUP_PREFIX + group for group in snapshot.groups)]
    for name in [*roles, *([TIME] if data.time else []), *kinds]:
        yield Planned("expect_column_to_exist", name, "critical", "the column is there")
    for name, kind in kinds.items():
        stored = _STORED[kind]
        yield Planned(
            "expect_column_values_to_be_of_type",
            name,
            "critical",
            f"{kind} values",
            {"type_": stored},
        )


def _wanted(column: Column, data: DataConfig) -> bool:
    """Say whether a column of the norm should be a feature under the present configuration."""
    if column.kind == "text":
        return column.name in data.text
    asked = data.columns == "auto" or column.name in data.columns
    return asked and column.name not in {*data.ignore, *data.text}


def _role_rules(
    snapshot: Snapshot, split: SplitName, data: DataConfig, now: datetime
) -> Iterator[Planned]:
    yield Planned("expect_column_values_to_be_unique", ID, "critical", "no id twice")
    yield Planned("expect_column_values_to_not_be_null", LABEL, "critical", "a label a row")
    yield Planned(
        "expect_column_values_to_be_in_set", LABEL, "critical", "0 or 1", {"value_set": [0, 1]}
    )
    if data.time is None:
        return
    yield Planned(
        "expect_column_values_to_be_between",
        TIME,
        "critical",
        f"not after {now:%Y-%m-%d %H:%M} UTC",
        {"max_value": now},
    )
    yield Planned(
        "expect_column_min_to_be_between",
        TIME,
        "warning",
        f"not before {_EARLIEST:%Y-%m-%d}",
        {"min_value": _EARLIEST},
    )
    earlier = None if split == "train" else snapshot.splits[SPLITS[SPLITS.index(split) - 1]]
    by_time = isinstance(data.split, SplitRule) and data.split.by == "time"
    if by_time and earlier is not None and earlier.time_end is not None:
        yield Planned(
            "expect_column_min_to_be_between",
            TIME,
            "critical",
            f"after {earlier.time_end}, where the part before ends",
            {"min_value": datetime.fromisoformat(earlier.time_end), "strict_min": True},
        )


def _text_rules(snapshot: Snapshot, config: ValidationConfig) -> Iterator[Planned]:
    text = joint_text(snapshot)
    if text is None:
        return
    yield Planned(
        "expect_column_values_to_not_match_regex",
        text,
        "critical",
        f"at most {config.max_null_share:.1%} of the texts empty",
        {"regex": _BLANK, "mostly": 1 - config.max_null_share},
    )
    yield Planned(
        "expect_column_value_lengths_to_be_between",
        text,
        "critical",
        f"at most {config.max_text_length} characters",
        {"max_value": config.max_text_length},
    )
    yield Planned(
        "expect_column_proportion_of_unique_values_to_be_between",
        text,
        "critical",
        f"at most {config.max_duplicate_share:.1%} of the texts repeated",
        {"min_value": 1 - config.max_duplicate_share},
    )


def _prevalence(low: float, high: float, severity: Literal["critical", "warning"]) -> Planned:
    return Planned(
        "expect_column_mean_to_be_between",
        LABEL,
        severity,
        f"a violating share of {low:.4g} to {high:.4g}",
        {"min_value": low, "max_value": high},
    )


def _norm_rules(snapshot: Snapshot, norm: Snapshot, config: ValidationConfig) -> Iterator[Planned]:
    if config.prevalence_range is None:
        share = norm.splits["train"].prevalence
        tolerance = config.prevalence_tolerance
        yield _prevalence(max(0.0, share - tolerance), min(1.0, share + tolerance), "warning")
    text = joint_text(snapshot)
    means = [p.mean for c in norm.columns if c.kind == "text" and (p := norm.profiles.get(c.name))]
    if text is not None and means == [mean for mean in means if mean is not None]:
        mean = sum(m for m in means if m is not None) + len(means) - 1
        low, high = mean / config.max_length_ratio, mean * config.max_length_ratio
        yield Planned(
            "expect_column_mean_to_be_between",
            length_column(text),
            "warning",
            f"{low:.4g} to {high:.4g} characters on average",
            {"min_value": low, "max_value": high},
        )
    mostly = 1 - config.max_unseen_share
    for name in [c.name for c in snapshot.columns] + [GROUP_PREFIX + g for g in snapshot.groups]:
        profile = norm.profiles.get(name)
        if profile is None:
            continue
        if not name.startswith(GROUP_PREFIX):
            yield _nulls(name, min(1.0, profile.null_share + config.max_null_share), snapshot)
        if name.startswith(GROUP_PREFIX) and profile.categories == ():
            continue  # groups are often told of evaluation rows alone; there is no norm then
        if profile.categories is not None:
            yield Planned(
                "expect_column_values_to_be_in_set",
                name,
                "warning",
                f"at most {config.max_unseen_share:.1%} of values unseen before",
                {"value_set": list(profile.categories), "mostly": mostly},
            )
        elif profile.minimum is not None and name not in _texts(snapshot):
            yield Planned(
                "expect_column_values_to_be_between",
                name,
                "warning",
                f"at most {config.max_unseen_share:.1%} outside {profile.minimum:.6g} to "
                f"{profile.maximum:.6g}",
                {"min_value": profile.minimum, "max_value": profile.maximum, "mostly": mostly},
            )


def _nulls(name: str, limit: float, snapshot: Snapshot) -> Planned:
    expected = f"at most {limit:.1%} missing"
    if name in _texts(snapshot):
        arguments = {"regex": _BLANK, "mostly": 1 - limit}
        return Planned(
            "expect_column_values_to_not_match_regex", name, "warning", expected, arguments
        )
    return Planned(
        "expect_column_values_to_not_be_null", name, "warning", expected, {"mostly": 1 - limit}
    )


def _texts(snapshot: Snapshot) -> list[str]:
    return [column.name for column in snapshot.columns if column.kind == "text"]


def joint_text(snapshot: Snapshot) -> str | None:
    """Name the column that holds a row's whole text, None where there is no text."""
    return " + ".join(_texts(snapshot)) or None


def length_column(text: str) -> str:
    """Name the column that holds the length of a text in characters."""
    return f"{text} (characters)"


def prepare_frame(frame: pd.DataFrame, snapshot: Snapshot, norm: Snapshot) -> pd.DataFrame:
    """Add the joint text and its length, and give each group column one value a row.

    A list of groups is told by its first value that the norm does not know, else by its first.
    """
    frame = frame.copy()
    text = joint_text(snapshot)
    if text is not None:
        parts = [frame[name] for name in _texts(snapshot)]
        joined = parts[0].str.cat(parts[1:], sep="\n") if len(parts) > 1 else parts[0]
        frame[text] = joined
        frame[length_column(text)] = joined.str.len()
    for group in snapshot.groups:
        name = GROUP_PREFIX + group
        profile = norm.profiles.get(name)
        known = set((profile.categories if profile else None) or ())
        frame[name] = [_telling(value, known) for value in frame[name]]
    return frame


def _telling(value: Any, known: set[str]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    values = [str(name) for name in value]
    return next((name for name in values if name not in known), values[0] if values else None)


def gate_message(report: ValidationReport) -> str | None:
    """Say in one line why the gate is shut: expectation, column, count; None when it is open."""
    if report.passed:
        return None
    critical = [e for e in report.failures if e.severity == "critical"]
    line = _told(critical[0])
    return line if len(critical) == 1 else f"{line} (and {len(critical) - 1} more)"


def _told(failure: Expectation) -> str:
    where = f"column {failure.column!r} of {failure.split}" if failure.column else failure.split
    parts = [f"expected {failure.expected}"] if failure.expected else []
    if failure.unexpected_count is not None:
        parts.append(f"{failure.unexpected_count} unexpected rows")
    if failure.observed is not None:
        parts.append(f"observed {failure.observed}")
    return re.sub(r"\s+", " ", f"{failure.name} failed on {where}: {', '.join(parts)}")
