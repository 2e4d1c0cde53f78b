"""What cleaning undoes, what it leaves alone, and that nothing hostile slows or breaks it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config import CleaningConfig
from tidegate.features.cleaning import MAX_CHARACTERS, RULES, clean

EVERYTHING = CleaningConfig(**dict.fromkeys(RULES, True))
NOTHING = CleaningConfig(**dict.fromkeys(RULES, False))


def only(rule, text):
    return clean([text], NOTHING.model_copy(update={rule: True}))[0]


@pytest.mark.parametrize(
    ("rule", "text", "cleaned"),
    [
        ("repair", "The Mona Lisa doesnÃ¢â‚¬â„¢t &amp; smile", "The Mona Lisa doesn't & smile"),
        ("repair", "ｆｒｅｅ 𝓹𝓻𝓲𝔃𝓮", "free prize"),
        ("invisible", "pr\u200bi\u00adze\ufeff", "prize"),
        ("invisible", "p\u0301\u0302\u0303rize", "p\u0301rize"),
        ("urls", "see https://a.example/b?c=d now", "see httpurl now"),
        ("users", "hey @some_one, mail a@b.example", "hey @user, mail a@b.example"),
        ("lookalikes", "frеe рrize", "free prize"),
        ("lookalikes", "хорошо free", "хорошо free"),
        ("leet", "pr1z3s fr33ly $ell", "prizes freely sell"),
        ("leet", "12345 and 3 at 10:30 for $5", "12345 and 3 at 10:30 for $5"),
        ("spacing", "p r i z e and p.r.i.z.e", "prize and prize"),
        ("spacing", "I am a b c", "I am a b c"),
        ("repeats", "sooooo!!!! 10000", "soo!! 10000"),
        ("emoji", "free 😀", "free  :grinning_face: "),
        ("numbers", "call 0800-555 at 10:30, b2b", "call 0-0 at 0 b2b"),
    ],
)
def test_a_rule_undoes_its_trick_alone(rule, text, cleaned):
    assert only(rule, text) == cleaned
    assert clean([text], NOTHING) == [text]


def test_what_each_rule_changed_is_counted_in_rows():
    changed = {}
    clean(["sooooo", "nooooo", "fine", "@me"], CleaningConfig(), changed)
    assert changed["repeats"] == 2
    assert changed["users"] == 1
    assert changed["leet"] == 0
    assert "numbers" not in changed


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=60))
def test_any_text_becomes_text_that_utf8_holds_and_rows_stay_apart(text):
    (alone,) = clean([text], EVERYTHING)
    alone.encode("utf-8")
    assert clean(["x", text, "y"], EVERYTHING)[1] == alone


@pytest.mark.parametrize("value", [None, float("nan"), "", "\u200b"])
def test_nothing_stays_nothing(value):
    assert clean([value], EVERYTHING) == [""]


HOSTILE = [
    "a ",
    "a.b.",
    "x",
    "@",
    "😀",
    "&amp;",
    "שלום ",
    "1.",
    "\ud800",
    "e\u0301",
    "$a1",
    "http://",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_ten_megabytes_take_seconds(unit):
    text = unit * (10_000_000 // len(unit))
    started = time.perf_counter()
    (cleaned,) = clean([text], EVERYTHING)
    assert time.perf_counter() - started < 20
    assert len(cleaned) < 40 * MAX_CHARACTERS
