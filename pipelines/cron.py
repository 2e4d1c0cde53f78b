"""Five-field cron, as crontab(5) has it, turned into the six fields that Kubeflow wants."""

import re
from dataclasses import dataclass

from tidegate.errors import BadInput

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_LONGEST_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[0-9]{1,4}))?")


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


def six_fields(cron: str) -> str:
    """Return a five-field cron expression as Kubeflow's scheduler reads it, at second 0.

    Kubeflow's parser (robfig/cron) counts Sunday as 0 only, so days of the week come out as
    numbers; the other fields keep their ranges and steps.

    Parameters
    ----------
    cron : str
        ``minute hour day-of-month month day-of-week``, for example ``0 3 * * mon-fri``.

    Raises
    ------
    BadInput
        If the expression has not five fields, a field is wrong, or no day ever comes.
    """
    words = cron.lower().split()
    if len(words) != len(_FIELDS):
        mend = "write minute, hour, day of month, month and day of week: '0 3 * * *'"
        if len(words) == len(_FIELDS) + 1:
            mend = "leave the seconds out: they are added"
        problem = f"a cron expression has five fields, got {len(words)} in {cron!r}"
        raise BadInput("--cron", problem, mend)
    values = [_values(word, field) for word, field in zip(words, _FIELDS, strict=True)]
    _require_a_day(words, values)
    weekdays = ",".join(_weekdays(part) for part in words[4].split(","))
    return " ".join(["0", *words[:4], weekdays])


def _weekdays(part: str) -> str:
    if part.startswith("*"):
        return part
    return ",".join(str(day) for day in sorted({day % 7 for day in _part(part, _FIELDS[4])}))


def _values(word: str, field: _Field) -> set[int]:
    """Return the numbers that a field stands for."""
    return {value for part in word.split(",") for value in _part(part, field)}


def _part(part: str, field: _Field) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise _bad(field, part, "write a number, a range 1-5, a step */15 or a list 1,15")
    step = int(match["step"] or 1)
    if step < 1:
        raise _bad(field, part, "write a step of 1 or more")
    if match["low"] is None:
        return range(field.low, field.high + 1, step)
    low = _number(match["low"], field)
    if match["high"] is None:
        if match["step"] is not None:
            raise _bad(field, part, f"write a range: {low}-{field.high}/{step}")
        return range(low, low + 1)
    high = _number(match["high"], field)
    if high < low:
        raise _bad(field, part, f"write two ranges: {low}-{field.high},{field.low}-{high}")
    return range(low, high + 1, step)


def _number(text: str, field: _Field) -> int:
    if text in field.words:
        return field.words.index(text) + field.low
    if not (text.isascii() and text.isdigit()) or not field.low <= int(text) <= field.high:
        raise _bad(field, text, f"write a number from {field.low} to {field.high}")
    return int(text)


def _require_a_day(words: list[str], values: list[set[int]]) -> None:
    """Refuse 31 February: unless a weekday also counts, such a schedule would never run."""
    if not words[4].startswith("*"):
        return
    longest = max(_LONGEST_MONTH_DAYS[month - 1] for month in values[3])
    if min(values[2]) > longest:
        raise _bad(_FIELDS[2], words[2], f"no month of {words[3]!r} has more than {longest} days")


def _bad(field: _Field, text: str, mend: str) -> BadInput:
    return BadInput("--cron", f"the {field.name} cannot be {text!r}", mend)
