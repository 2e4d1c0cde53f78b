"""Points of a search space: suggested by Optuna, and as the words of a command line."""

import math
from collections.abc import Mapping
from typing import Any

from tidegate.errors import BadInput
from tidegate.models.interface import Choice, FloatRange, IntRange, SearchSpace
from tidegate.records import Params

ParamValue = bool | int | float | str


def suggest(space: SearchSpace, trial: Any) -> Params:
    """Return the point that an ``optuna.trial.Trial`` proposes."""
    return {name: _suggest(name, dimension, trial) for name, dimension in space.items()}


def _suggest(name: str, dimension: FloatRange | IntRange | Choice, trial: Any) -> ParamValue:
    if isinstance(dimension, FloatRange):
        return float(trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log))
    if isinstance(dimension, IntRange):
        return int(trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log))
    chosen: ParamValue = trial.suggest_categorical(name, list(dimension.values))
    return chosen


def grid_points(
    space: SearchSpace, defaults: Params, most: int
) -> dict[str, tuple[ParamValue, ...]]:
    """Return the values of each hyperparameter in a grid of at most `most` points.

    Hyperparameters take turns in getting one more value; one that has a single value keeps its
    default, and several lie evenly between the ends (on the logarithm's scale where it is meant).
    """
    counts = dict.fromkeys(space, 1)
    grew = True
    while grew:
        grew = False
        for name, dimension in space.items():
            size = math.prod(counts.values())
            limit = len(dimension.values) if isinstance(dimension, Choice) else most
            if counts[name] < limit and size // counts[name] * (counts[name] + 1) <= most:
                counts[name] += 1
                grew = True
    return {
        name: (defaults[name],) if counts[name] == 1 else _spread(dimension, counts[name])
        for name, dimension in space.items()
    }


def steps(space: SearchSpace, most: int) -> dict[str, tuple[ParamValue, ...]]:
    """Return at most `most` values of each hyperparameter, in their order, from end to end.

    They lie evenly, on the logarithm's scale where it is meant; all of a choice's are there.
    """
    return {
        name: tuple(dimension.values) if isinstance(dimension, Choice) else _spread(dimension, most)
        for name, dimension in space.items()
    }


def _spread(dimension: FloatRange | IntRange | Choice, count: int) -> tuple[ParamValue, ...]:
    if isinstance(dimension, Choice):
        return tuple(dimension.values[:count])
    low, high = float(dimension.low), float(dimension.high)
    steps = [place / (count - 1) for place in range(count)]
    if dimension.log:
        values = [low * (high / low) ** step for step in steps]
    else:
        values = [low + (high - low) * step for step in steps]
    if isinstance(dimension, IntRange):
        return tuple(dict.fromkeys(round(value) for value in values))
    return tuple(min(high, max(low, float(f"{value:.6g}"))) for value in values)


def contains(space: SearchSpace, params: Params) -> bool:
    """Say whether `params` is a point of `space`: every hyperparameter, and no other."""
    return space.keys() == params.keys() and all(
        _contains(space[name], value) for name, value in params.items()
    )


def _contains(dimension: FloatRange | IntRange | Choice, value: ParamValue) -> bool:
    if isinstance(dimension, Choice):
        return any(type(value) is type(known) and value == known for known in dimension.values)
    if isinstance(value, str | bool) or (isinstance(dimension, IntRange) and value != int(value)):
        return False
    return dimension.low <= value <= dimension.high


def word(value: ParamValue) -> str:
    """Return a value as one word: decimal digits without an exponent, ``true`` or ``false``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        from decimal import Decimal

        return format(Decimal(repr(value)), "f")
    return str(value)


def parse_words(space: SearchSpace, words: Mapping[str, str]) -> Params:
    """Return the point that a command line's ``name=value`` words mean.

    Raises
    ------
    BadInput
        If a hyperparameter is missing, unknown, not readable or out of its range.
    """
    for name in words:
        if name not in space:
            raise BadInput(name, "unknown hyperparameter", f"known: {', '.join(space)}")
    missing = [name for name in space if name not in words]
    if missing:
        raise BadInput(missing[0], "hyperparameter is missing", f"write {missing[0]}=VALUE")
    return {name: _parse(name, space[name], words[name]) for name in space}


def _parse(name: str, dimension: FloatRange | IntRange | Choice, text: str) -> ParamValue:
    if isinstance(dimension, Choice):
        for known in dimension.values:
            if word(known) == text:
                return known
        allowed = ", ".join(word(known) for known in dimension.values)
        raise BadInput(name, f"got {text!r}", f"write one of {allowed}")
    try:
        value = float(text) if isinstance(dimension, FloatRange) else int(text)
    except ValueError:
        kind = "a number" if isinstance(dimension, FloatRange) else "an integer"
        raise BadInput(name, f"{text!r} is not {kind}", "mend the value") from None
    if not dimension.low <= value <= dimension.high:
        raise BadInput(
            name,
            f"must be in [{word(dimension.low)}, {word(dimension.high)}], got {text}",
            "mend the value",
        )
    return value
