"""Texts to hashed n-grams, all texts of a chunk at once, as arrays.

A gram is known by 48 bits of its hash: among ten million distinct ones, one pair is expected to
be confused every sixth vocabulary. Nothing is looked at character by character in Python, which is
where scikit-learn's vectorizers spend their time.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

HASH_BITS = 48
#: Rows of a chunk are counted in so many bits beside a gram's hash.
ROW_BITS = 16
MAX_CHUNK_ROWS = 4096
_MAX_CHUNK_CHARACTERS = 200_000
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_STIR = np.uint64(0xD6E8FEB86659FD93)
_UNKNOWN, _OTHER, _WORD, _BLANK = 0, 1, 2, 3
_kind_of = np.zeros(0x110000, dtype=np.uint8)


@dataclass(frozen=True)
class Chunk:
    """Some texts, lower-cased and with single blanks, as one array of code points.

    Parameters
    ----------
    text : str
        The texts, each followed by a line feed.
    codes : ndarray of uint64, shape (characters,)
    row_of : ndarray of int64, shape (characters,)
        The text that a character stands in.
    room : ndarray of int64, shape (characters,)
        Characters from there to the end of its text.
    rows : int
    """

    text: str
    codes: Hashes
    row_of: Places
    room: Places
    rows: int

    @classmethod
    def of(cls, texts: Sequence[str], *, padded: bool = False) -> "Chunk":
        """Return the chunk of some texts, with a blank at both ends if `padded`."""
        folded = [" ".join(text.lower().split()) for text in texts]
        if padded:
            folded = [f" {text} " for text in folded]
        text = "\n".join([*folded, ""])
        codes = codes_of(text)
        lengths = np.array([len(text) for text in folded], dtype=np.int64) + 1
        row_of = np.repeat(np.arange(len(folded)), lengths)
        room = np.cumsum(lengths)[row_of] - 1 - np.arange(codes.size)
        return cls(text, codes, row_of, room, len(folded))


@dataclass(frozen=True)
class Grams:
    """The grams of one length in a chunk, in the order of the text.

    Parameters
    ----------
    row : ndarray of int64
    hashes : ndarray of uint64
        Below 2 ** 48.
    begin, end : ndarray of int64
        Where each stands in the chunk's text.
    """

    row: Places
    hashes: Hashes
    begin: Places
    end: Places


Cut = Callable[[Sequence[str]], tuple[Chunk, list[Grams]]]


def across_words(texts: Sequence[str]) -> tuple[Chunk, list[Grams]]:
    """Return the 3- to 5-grams of characters, blanks included."""
    chunk = Chunk.of(texts)
    return chunk, [
        _window(chunk, size, chunk.room >= size, hashes)
        for size, hashes in rolling(chunk.codes)
        if size >= 3
    ]


def within_words(texts: Sequence[str]) -> tuple[Chunk, list[Grams]]:
    """Return the 3- to 5-grams of characters that hold a blank at their ends only."""
    chunk = Chunk.of(texts, padded=True)
    ahead = to_next_blank(chunk.codes)
    return chunk, [
        _window(chunk, size, (chunk.room >= size) & (ahead >= size - 1), hashes)
        for size, hashes in rolling(chunk.codes)
        if size >= 3
    ]


def words(texts: Sequence[str]) -> tuple[Chunk, list[Grams]]:
    """Return the words and single other signs, and each two and three neighbours of them."""
    chunk = Chunk.of(texts)
    kind = _kinds(chunk.codes)
    word = kind == _WORD
    after, before = np.append(word[1:], False), np.append(False, word[:-1])
    starts_word = word & ~before[: word.size]
    begin = np.flatnonzero(starts_word | (kind == _OTHER))
    end = begin + 1
    end[starts_word[begin]] = np.flatnonzero(word & ~after[: word.size]) + 1
    single = _hash_spans(chunk.codes, begin, end)
    row = chunk.row_of[begin]
    found = [Grams(row, _stir(single), begin, end)]
    joined = single
    for size in (2, 3):
        if begin.size < size:
            break
        joined = joined[:-1] * _PRIME + _stir(single[size - 1 :])
        same = row[size - 1 :] == row[: -(size - 1)]
        found.append(
            Grams(
                row[: -(size - 1)][same],
                _stir(joined[same]),
                begin[: -(size - 1)][same],
                end[size - 1 :][same],
            )
        )
    return chunk, found


def codes_of(text: str) -> Hashes:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)


def to_next_blank(codes: Hashes) -> Places:
    """Return how far it is from each place to the next blank after it, or to the end."""
    blank = codes == ord(" ")
    places = np.where(blank, np.arange(blank.size), blank.size)
    following = np.minimum.accumulate(places[::-1])[::-1]
    ahead: Places = np.append(following[1:], blank.size) - np.arange(blank.size)
    return ahead


def sized(found: Sequence[tuple[int, Hashes]]) -> Hashes:
    """Return what the grams of some lengths, by `rolling`, are known by."""
    return _stir(np.concatenate([hashes + np.uint64(size) for size, hashes in found]))


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in order, in parts short enough for the memory of their grams."""
    start = characters = 0
    for row, text in enumerate(texts):
        full = row - start >= MAX_CHUNK_ROWS or characters + len(text) > _MAX_CHUNK_CHARACTERS
        if row > start and full:
            yield texts[start:row]
            start, characters = row, 0
        characters += len(text)
    yield texts[start:]


def in_threads(work: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> Iterator[Any]:
    """Yield the work's result on each chunk of the texts, in order; NumPy frees the GIL."""
    parts = list(chunks(texts))
    threads = min(len(os.sched_getaffinity(0)), len(parts))
    if threads < 2:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, parts)


def rolling(codes: Hashes) -> Iterator[tuple[int, Hashes]]:
    """Yield the hash of the 1-, 2-, … 5-gram that begins at each place it fits."""
    hashes = codes
    for size in range(1, 6):
        if size > 1:
            hashes = hashes[:-1] * _PRIME + codes[size - 1 :]
        yield size, hashes


def _window(chunk: Chunk, size: int, fits: npt.NDArray[np.bool_], hashes: Hashes) -> Grams:
    begin = np.flatnonzero(fits)
    return Grams(chunk.row_of[begin], _stir(hashes[begin] + np.uint64(size)), begin, begin + size)


def _hash_spans(codes: Hashes, begin: Places, end: Places) -> Hashes:
    """Return a polynomial hash of each span, from the running sum of all characters."""
    powers = np.full(codes.size + 1, _PRIME, dtype=np.uint64)
    backwards = np.full(codes.size + 1, _INVERSE, dtype=np.uint64)
    powers[0] = backwards[0] = 1
    powers, backwards = np.cumprod(powers), np.cumprod(backwards)
    sums = np.append(np.uint64(0), np.cumsum(codes * powers[:-1], dtype=np.uint64))
    hashes: Hashes = (sums[end] - sums[begin]) * backwards[begin] + (end - begin).astype(np.uint64)
    return hashes


def _stir(hashes: Hashes) -> Hashes:
    """Return 48 well-mixed bits (after the finaliser of MurmurHash3)."""
    stirred = hashes >> np.uint64(32)
    stirred ^= hashes
    stirred *= _STIR
    stirred ^= stirred >> np.uint64(29)
    stirred *= _PRIME
    stirred >>= np.uint64(ROW_BITS)
    return stirred


def _kinds(codes: Hashes) -> npt.NDArray[np.uint8]:
    """Return for each character whether it is of a word, a blank or another sign."""
    kinds = _kind_of[codes]
    if not kinds.all():
        for code in np.unique(codes[kinds == _UNKNOWN]).tolist():
            sign = chr(code)
            word = sign.isalnum() or sign == "_"
            _kind_of[code] = _WORD if word else _BLANK if sign.isspace() else _OTHER
        kinds = _kind_of[codes]
    return kinds
