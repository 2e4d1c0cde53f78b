"""Text to counts of how it is written: length, case, signs, repetition and script."""

import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.config import FeatureConfig
from tidegate.features.cleaning import RULES, bounded_text
from tidegate.features.interface import State, Transformer
from tidegate.features.sparse_rows import of_dense

_WORD = re.compile(r"\w+")
_MARKS = {
    "urls": re.compile(r"(?i:https?://|www\.)|\[URL\]|httpurl"),
    "users": re.compile(r"(?<![\w.])@\w|\[USER\]"),
    "emoji": re.compile("[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"),
    "repeats": re.compile(r"([^\s\d])\1{2,}"),
}
#: A text's script says which language it can be; the first word of a letter's Unicode name.
SCRIPTS = ("latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "cjk", "hangul")
_KANA = {"hiragana": "cjk", "katakana": "cjk"}
NAMES = (
    "characters",
    "words",
    "word_length",
    "capitals",
    "shouted_words",
    "digits",
    "signs",
    "exclamations",
    "questions",
    "blanks",
    "entropy",
    "distinct_words",
    *_MARKS,
    "invisible",
    "other_script",
    *SCRIPTS,
)
_MAX_DEVIATIONS = 10.0


def describe(text: str) -> list[float]:
    """Return the statistics of one text in the order of `NAMES`.

    Counts are log(1 + n), the others shares; entropy is in bits a character.
    """
    count = Counter(text)
    total = max(1, len(text))
    words = _WORD.findall(text)
    letters = digits = capitals = blanks = 0
    scripts: Counter[str] = Counter()
    for sign, times in count.items():
        if sign.isalpha():
            letters += times
            capitals += times * sign.isupper()
            scripts[_script(sign)] += times
        elif sign.isdigit():
            digits += times
        elif sign.isspace():
            blanks += times
    shouted = sum(len(word) > 1 and word.isupper() for word in words)
    return [
        math.log1p(len(text)),
        math.log1p(len(words)),
        sum(map(len, words)) / max(1, len(words)),
        capitals / max(1, letters),
        shouted / max(1, len(words)),
        digits / total,
        (len(text) - letters - digits - blanks) / total,
        math.log1p(count["!"]),
        math.log1p(count["?"]),
        blanks / total,
        -sum(n / total * math.log2(n / total) for n in count.values()),
        len({word.lower() for word in words}) / max(1, len(words)),
        *(math.log1p(sum(1 for _ in mark.finditer(text))) for mark in _MARKS.values()),
        math.log1p(len(text) - len(RULES["invisible"](text))),
        sum(n for script, n in scripts.items() if script not in SCRIPTS) / max(1, letters),
        *(scripts[script] / max(1, letters) for script in SCRIPTS),
    ]


def _script(letter: str) -> str:
    if letter.isascii():
        return "latin"
    first = unicodedata.name(letter, "").partition(" ")[0].lower()
    return sys.intern(_KANA.get(first, first))


class StatisticsBlock:
    """The statistics of a column, standardised by training; together about as long as one TF-IDF.

    Parameters
    ----------
    mean, deviation : ndarray of float64, shape (statistics,)
        Of the training rows, once fitted; a statistic that never varied has deviation 0 and gives
        nothing.
    """

    def __init__(
        self,
        mean: npt.NDArray[np.float64] | None = None,
        deviation: npt.NDArray[np.float64] | None = None,
    ) -> None:
        zeros = np.zeros(len(NAMES))
        self._mean = zeros if mean is None else mean
        self._deviation = zeros if deviation is None else deviation

    def fit(self, values: Sequence[Any], y: npt.NDArray[np.int8]) -> "StatisticsBlock":
        """Learn means and deviations."""
        table = _table(values)
        if not len(table):
            return StatisticsBlock()
        return StatisticsBlock(table.mean(axis=0), table.std(axis=0))

    def transform(self, values: Sequence[Any]) -> Any:
        """Return the standardised statistics, CSR float32 of shape (rows, statistics)."""
        varies = self._deviation > 1e-9
        scale = np.divide(1.0, self._deviation, out=np.zeros(len(NAMES)), where=varies)
        table = (_table(values) - self._mean) * scale
        table = np.clip(table, -_MAX_DEVIATIONS, _MAX_DEVIATIONS) / math.sqrt(len(NAMES))
        return of_dense(table.astype(np.float32))

    def get_feature_names_out(self) -> Sequence[str]:
        """Return the names of the statistics."""
        return NAMES

    def state(self) -> State:
        """Return means and deviations, and the names that they belong to."""
        return {"names": list(NAMES)}, {"mean": self._mean, "deviation": self._deviation}


def _table(values: Sequence[Any]) -> npt.NDArray[np.float64]:
    rows = [describe(bounded_text(value)) for value in values]
    return np.array(rows, dtype=np.float64).reshape(-1, len(NAMES))


def _build(config: FeatureConfig) -> StatisticsBlock | None:
    return StatisticsBlock() if config.statistics else None


def _restore(state: State) -> StatisticsBlock:
    arrays: Mapping[str, Any] = state[1]
    return StatisticsBlock(arrays["mean"], arrays["deviation"])


STATISTICS = Transformer("statistics", "text", _build, _restore, "statistics", raw=True)
