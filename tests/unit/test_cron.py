"""Five cron fields in, the six of Kubeflow out, and nothing that would never run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cron import six_fields
from tidegate.errors import BadInput

BOUNDS = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))


def parts(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 40)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    one = st.one_of(number.map(str), span, stepped)
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


crons = st.tuples(*(parts(low, high) for low, high in BOUNDS)).map(" ".join)


def numbers(field: str, low: int, high: int) -> set[int]:
    """Read a field as robfig/cron does: an independent reading to compare with."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start = low if first == "*" else int(first)
        end = high if first == "*" else int(last or first)
        found |= {n for n in range(start, end + 1) if (n - start) % int(step or 1) == 0}
    return found


@given(crons)
def test_every_field_keeps_its_meaning_behind_a_zero_for_the_seconds(cron):
    seconds, *rest = six_fields(cron).split()
    assert seconds == "0"
    for before, after, (low, high) in zip(cron.split(), rest, BOUNDS, strict=True):
        assert numbers(after, low, high) == numbers(before, low, high)


@given(
    crons, st.integers(0, 4), st.sampled_from(["60", "x", "", "-1", "3-1", "*/0", "5/2", "1,,2"])
)
def test_a_bad_field_is_refused_and_named(cron, place, bad):
    fields = cron.split()
    fields[place] = bad or "?"
    with pytest.raises(BadInput) as refused:
        six_fields(" ".join(fields))
    names = ("minute", "hour", "day of month", "month", "day of week")
    assert names[place] in refused.value.problem


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("*/15 8-18 * * mon-fri", "0 */15 8-18 * * 1,2,3,4,5"),
        ("0 0 1 jan 7", "0 0 0 1 jan 0"),
        ("0 0 * * sat,sun", "0 0 0 * * 6,0"),
        ("0 0 * * 5-7", "0 0 0 * * 0,5,6"),
        ("30 4 29 2 *", "0 30 4 29 2 *"),
        ("0 0 31 2 mon", "0 0 0 31 2 1"),
    ],
)
def test_names_and_both_sundays_become_numbers_that_kubeflow_reads(five, six):
    assert six_fields(five) == six


def test_a_day_that_never_comes_is_refused():
    with pytest.raises(BadInput, match="day of month"):
        six_fields("0 3 31 2,4,6 *")


def test_seconds_are_not_for_the_user_to_give():
    with pytest.raises(BadInput, match="leave the seconds out"):
        six_fields("0 0 3 * * *")


@pytest.mark.parametrize("cron", ["", "@daily", "0 3 * *"])
def test_other_counts_of_fields_are_refused_with_an_example(cron):
    with pytest.raises(BadInput, match="'0 3 \\* \\* \\*'"):
        six_fields(cron)
