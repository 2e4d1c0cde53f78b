"""What is undone in a text before it becomes features, the same in training and in serving."""

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.config import CleaningConfig
from tidegate.features.cells import as_text

#: Changes with the rules, so that a bundle is never scored by others than it was trained with.
VERSION = 1
# What is read of a text, half of it from each end: its cost is bounded whatever comes.
MAX_CHARACTERS = 100_000

# Letters of other scripts that look like Latin ones (after Unicode's confusables, UTS 39).
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁԛԝһьАВЕКМНОРСТУХІЈЅαοενικρτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧɑɡıⅼ",
    "aeopcyxijsdqwhbABEKMHOPCTYXIJSaoevikptuxABEZHIKMNOPTYXagil",
)
_LEET = str.maketrans("013457@$!", "oieastasi")
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"\w+")
# Not in a URL or an address, which have signs between letters for another reason.
_LEET_INSIDE = re.compile(r"(?<=[A-Za-z])[013457@$!]{1,3}(?=[A-Za-z])")
_LEET_FIRST = re.compile(r"(?<![\w$@!])\$(?=[A-Za-z]{2})")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_MARKS = re.compile("([\u0300-\u036f])[\u0300-\u036f]{1,}")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_]([ .\-*_]))(?:[^\W\d_]\1){2,}[^\W\d_](?![^\W_])")
_REPEATED = re.compile(r"([^\s\d])\1{2,}")
_URL = re.compile(r"(?i:https?://|www\.)[^\s<>\"]+|\[URL\]")
_USER = re.compile(r"(?<![\w.])@\w+|\[USER\]")
_NUMBER = re.compile(r"(?<![^\W_])\d[\d.,:]*(?![^\W_])")
_EMOJI = re.compile("[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")


def bounded_text(value: Any) -> str:
    """Return a cell as text of at most `MAX_CHARACTERS`."""
    # Cut first: replacing millions of broken characters takes long.
    text = as_text(_cut(value) if isinstance(value, str) else value)
    return _cut(text)


def _cut(text: str) -> str:
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]} {text[1 - half :]}"


def _repair(text: str) -> str:
    import ftfy

    # Lines are lines of a chat here: what ftfy does to each is bounded by its length.
    return ftfy.fix_text(text, _ftfy_config()) if _needs_repair(text) else text


def _needs_repair(text: str) -> bool:
    return not text.isascii() or "&" in text or not text.isprintable()


@functools.cache
def _ftfy_config() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(explain=False, normalization="NFKC", unescape_html=True)


def _invisible(text: str) -> str:
    if text.isascii():
        return text
    return _MARKS.sub(r"\1", _INVISIBLE.sub("", text))


def _urls(text: str) -> str:
    return _URL.sub("httpurl", text)


def _users(text: str) -> str:
    return _USER.sub("@user", text)


def _lookalikes(text: str) -> str:
    def fold(found: re.Match[str]) -> str:
        word = found[0]
        # A word of one script is spelt as it is meant.
        return word if word.isascii() or not _LATIN.search(word) else word.translate(_LOOKALIKES)

    return text if text.isascii() else _WORD.sub(fold, text)


def _leet(text: str) -> str:
    text = _LEET_INSIDE.sub(lambda found: found[0].translate(_LEET), text)
    return _LEET_FIRST.sub("s", text)


def _spacing(text: str) -> str:
    return _SPACED.sub(lambda found: found[0].replace(found[1], ""), text)


def _repeats(text: str) -> str:
    return _REPEATED.sub(r"\1\1", text)


def _emoji(text: str) -> str:
    return text if text.isascii() else _EMOJI.sub(_named, text)


def _named(found: re.Match[str]) -> str:
    name = unicodedata.name(found[0], "")
    return f" :{name.lower().replace(' ', '_').replace('-', '_')}: " if name else found[0]


def _numbers(text: str) -> str:
    return _NUMBER.sub("0", text)


#: In the order in which they are applied; a switch of `CleaningConfig` each.
RULES: Mapping[str, Callable[[str], str]] = {
    "repair": _repair,
    "invisible": _invisible,
    "urls": _urls,
    "users": _users,
    "lookalikes": _lookalikes,
    "leet": _leet,
    "spacing": _spacing,
    "repeats": _repeats,
    "emoji": _emoji,
    "numbers": _numbers,
}


def clean(
    values: Sequence[Any], config: CleaningConfig, changed: dict[str, int] | None = None
) -> list[str]:
    """Return the cleaned texts of a column; what is no text is read as one.

    Every rule takes time linear in the text.

    Parameters
    ----------
    values : sequence
    config : CleaningConfig
        Which rules apply.
    changed : dict of str to int, optional
        Gets the number of texts that each rule changed.
    """
    texts = [bounded_text(value) for value in values]
    for name, rule in RULES.items():
        if getattr(config, name):
            cleaned = [rule(text) for text in texts]
            if changed is not None:
                pairs = zip(texts, cleaned, strict=True)
                changed[name] = sum(before != after for before, after in pairs)
            texts = cleaned
    return texts
