"""The terms of one text, for the request of one post: what `Vocabulary` finds, in a fifth the time.

`tidegate.features.grams` keeps of every gram which text it is of and where it stands. Of one text
nobody asks, and most of a hundred calls into NumPy are saved.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tidegate.features import grams
from tidegate.features.grams import Cut, Hashes

Columns = npt.NDArray[np.int32]
Counts = npt.NDArray[np.float64]

# What `grams.words` takes for a word, and each other sign by itself.
_TOKEN = re.compile(r"\w+|[^\w\s]")
_LARGEST = np.iinfo(np.uint64).max


class OneText:
    """Counts the known terms of one text.

    Parameters
    ----------
    cut : callable
        One of `grams`; the terms are of its kind.
    terms : sequence of str
        In column order.
    hashes : ndarray of uint64, shape (terms,)
        What they are known by.
    """

    def __init__(self, cut: Cut, terms: Sequence[str], hashes: Hashes) -> None:
        self._hashes_of = _HASHED.get(cut)
        if self._hashes_of is None:
            # Between two words of a term there may be a blank or nothing.
            self._column_of = {
                " ".join(_TOKEN.findall(term)): column for column, term in enumerate(terms)
            }
        else:
            order = np.argsort(hashes)
            self._column = np.append(order, -1).astype(np.int32)
            self._sorted = np.append(hashes[order], _LARGEST)

    def count(self, text: str) -> tuple[Columns, Counts]:
        """Return the columns of the known terms, ascending, and how often each occurs."""
        text = " ".join(text.lower().split())
        if self._hashes_of is None:
            return self._counted(_words(text))
        hashes = self._hashes_of(text)
        if not hashes.size:
            return np.zeros(0, dtype=np.int32), np.zeros(0)
        hashes.sort()
        ends = np.empty(hashes.size + 1, dtype=bool)
        ends[0] = ends[-1] = True
        np.not_equal(hashes[1:], hashes[:-1], out=ends[1:-1])
        first = ends.nonzero()[0]
        distinct = hashes[first[:-1]]
        # Ascending keys are found near one another.
        place = self._sorted.searchsorted(distinct)
        known = (self._sorted[place] == distinct).nonzero()[0]
        columns = self._column[place[known]]
        order = columns.argsort()
        known = known[order]
        return columns[order], (first[known + 1] - first[known]).astype(np.float64)

    def _counted(self, terms: Sequence[str]) -> tuple[Columns, Counts]:
        tally = Counter(map(self._column_of.get, terms))
        tally.pop(None, None)
        columns = sorted(column for column in tally if column is not None)
        counts = [tally[column] for column in columns]
        return np.array(columns, dtype=np.int32), np.array(counts, dtype=np.float64)


def _words(text: str) -> list[str]:
    one = _TOKEN.findall(text)
    two = [f"{a} {b}" for a, b in itertools.pairwise(one)]
    three = [f"{a} {b}" for a, b in zip(two, one[2:], strict=False)]
    return one + two + three


def _across_words(text: str) -> Hashes:
    return grams.sized(list(grams.rolling(grams.codes_of(text)))[2:])


def _within_words(text: str) -> Hashes:
    codes = grams.codes_of(f" {text} ")
    ahead = grams.to_next_blank(codes)
    found = list(grams.rolling(codes))[2:]
    return grams.sized([(n, hashes[ahead[: hashes.size] >= n - 1]) for n, hashes in found])


_HASHED: Mapping[Cut, Callable[[str], Hashes]] = {
    grams.across_words: _across_words,
    grams.within_words: _within_words,
}
