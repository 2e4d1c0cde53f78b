"""Texts as the numbers of an encoder's vocabulary: rows of different lengths, padded by batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.errors import BadInput

Index = npt.NDArray[np.int64]

#: No token of a vocabulary spans more characters on average; what lies beyond is cut unread.
CHARACTERS_PER_TOKEN = 24
#: Rows that are tokenized or padded at once where order does not matter.
CHUNK_ROWS = 64


@dataclass(frozen=True)
class Tokens:
    """Tokens of all rows end to end; row r has those from ``starts[r]`` to ``starts[r + 1]``."""

    ids: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    starts: Index

    @property
    def lengths(self) -> Index:
        """Tokens of each row."""
        return np.diff(self.starts)

    def row(self, number: int) -> bytes:
        """Return what two rows have in common when they are the same text."""
        span = slice(self.starts[number], self.starts[number + 1])
        return self.ids[span].tobytes() + self.segments[span].tobytes()

    def places(self, rows: Index) -> tuple[Index, npt.NDArray[np.bool_]]:
        """Return where the tokens of some rows lie, and which of them are there.

        Returns
        -------
        places : ndarray, shape (rows, longest of them)
            Indices into `ids`; 0 where nothing is.
        present : ndarray of bool, of that shape
        """
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=1))
        present = steps < lengths[:, None]
        return np.where(present, self.starts[rows][:, None] + steps, 0), present

    def padded(self, rows: Index, padding: int) -> tuple[Index, Index, npt.NDArray[np.bool_]]:
        """Return ids, segments and which are there, each of shape (rows, longest of them)."""
        places, present = self.places(rows)
        return (
            np.where(present, self.ids[places], padding),
            np.where(present, self.segments[places], 0),
            present,
        )

    def by_length(self, rows_at_once: int = CHUNK_ROWS) -> Iterator[Index]:
        """Yield all rows, the longest first, in batches of like length."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), rows_at_once):
            yield order[start : start + rows_at_once]


def tokenizer_of(text: str) -> Any:
    """Return the tokenizer of a tokenizer.json's text, without padding or truncation of its own."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenized(tokenizer: Any, texts: Mapping[str, Sequence[str]], longest: int) -> Tokens:
    """Return the tokens of text columns, cut to `longest` a row with the separators.

    One column is one segment; of several, the last is the second segment (the reply) and those
    before it, joined, the first (its context). Characters that are not Unicode are replaced.

    Parameters
    ----------
    texts : mapping
        Columns by name, each of one text a row.
    """
    columns = list(texts.values())
    if not columns:
        raise BadInput("data.text", "the encoder reads text and there is none", "name a column")
    tokenizer.enable_truncation(longest)
    most = longest * CHARACTERS_PER_TOKEN
    ids: list[list[int]] = []
    segments: list[list[int]] = []
    for start in range(0, len(columns[0]), 1024):
        chunk = [
            [_readable(text, most) for text in column[start : start + 1024]] for column in columns
        ]
        inputs: list[Any] = chunk[-1]
        if len(chunk) > 1:
            context = [" ".join(parts) for parts in zip(*chunk[:-1], strict=True)]
            inputs = list(zip(context, chunk[-1], strict=True))
        for encoding in tokenizer.encode_batch(inputs):
            ids.append(encoding.ids)
            segments.append(encoding.type_ids)
    lengths = [len(row) for row in ids]
    return Tokens(
        ids=np.concatenate([np.asarray(row, dtype=np.int64) for row in ids]),
        segments=np.concatenate([np.asarray(row, dtype=np.int64) for row in segments]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _readable(text: str, most: int) -> str:
    return text[:most].encode("utf-8", errors="replace").decode("utf-8")


def batches_by_length(
    lengths: Index, rows_at_once: int, tokens_at_once: int, seed: Sequence[int]
) -> list[Index]:
    """Return all rows in random batches of like length, so that little is padding.

    Parameters
    ----------
    lengths : ndarray, shape (rows,)
    rows_at_once, tokens_at_once : int
        A batch has no more rows, nor more tokens with its padding, than these.
    seed : sequence of int
        Of the order; batches of one pool of 32 are alike in length, and come in any order.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    batches: list[Index] = []
    for start in range(0, len(order), rows_at_once * 32):
        pool = order[start : start + rows_at_once * 32]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        at = 0
        while at < len(pool):
            size = rows_at_once
            while size > 1 and lengths[pool[at : at + size]].max() * size > tokens_at_once:
                size -= 1
            batches.append(pool[at : at + size].astype(np.int64))
            at += size
    random.shuffle(batches)
    return batches
