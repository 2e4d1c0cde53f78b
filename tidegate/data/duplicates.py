"""Texts of validation and holdout that stand, exactly or nearly, in training."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tidegate.data.splits import HOLDOUT, TRAIN, VALIDATION, Codes
from tidegate.records import DuplicateSummary

NEAR_SIMILARITY = 0.9
_SHINGLE_CHARACTERS = 5
# Long posts are compared by their beginning, which bounds the work.
_MAX_CHARACTERS = 4000
# At similarity 0.9, one of 12 bands of 8 rows agrees with probability 0.9988, at 0.5 with 0.05.
_BANDS, _BAND_ROWS = 12, 8
_CANDIDATES_PER_BAND = 4
_BATCH_CHARACTERS = 1 << 20
_SPACE = re.compile(r"\s+")


def normalise_text(text: str) -> str:
    """Fold case and white space, so that trivially different copies are equal."""
    return _SPACE.sub(" ", text).strip().casefold()


def find_duplicates(
    texts: Sequence[str], codes: Codes, *, drop: bool
) -> tuple[npt.NDArray[np.bool_], DuplicateSummary]:
    """Find repeated texts within training and across the splits.

    Empty texts are not compared. Near duplicates are found by MinHash with banding (Broder, "On
    the resemblance and containment of documents", 1997) over shingles of five characters and
    confirmed by their true Jaccard similarity.

    Parameters
    ----------
    texts : sequence of str
        One text a row.
    codes : Codes
        The split of each row.
    drop : bool
        Whether rows of validation and holdout that equal a training text are to go.

    Returns
    -------
    tuple
        A mask of the rows to keep, and the counts.
    """
    normal = np.array([normalise_text(text) for text in texts], dtype=object)
    present = normal != ""
    in_train = present & (codes == TRAIN)
    known = set(normal[in_train])
    exact = np.fromiter((text in known for text in normal), dtype=np.bool_, count=len(normal))
    exact &= present & (codes != TRAIN)
    near = np.zeros(len(normal), dtype=np.bool_)
    asked = present & ~exact & (codes != TRAIN)
    near[asked] = near_matches(normal[asked], sorted(known))

    def count(mask: npt.NDArray[np.bool_], code: int) -> int:
        return int((mask & (codes == code)).sum())

    keep = ~exact if drop else np.ones(len(normal), dtype=np.bool_)
    return keep, DuplicateSummary(
        exact_within_train=int(in_train.sum()) - len(known),
        exact_train_validation=count(exact, VALIDATION),
        exact_train_holdout=count(exact, HOLDOUT),
        near_train_validation=count(near, VALIDATION),
        near_train_holdout=count(near, HOLDOUT),
        dropped_validation=count(~keep, VALIDATION),
        dropped_holdout=count(~keep, HOLDOUT),
        near_similarity=NEAR_SIMILARITY,
    )


def near_matches(queries: Sequence[str], known: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Say for each query whether a known text has Jaccard similarity `NEAR_SIMILARITY` or more.

    The work is bounded: a query is compared with at most four known texts a band.
    """
    found = np.zeros(len(queries), dtype=np.bool_)
    if not len(queries) or not len(known):
        return found
    query_keys, known_keys = _band_keys(queries), _band_keys(known)
    known_shingles: dict[int, frozenset[int]] = {}
    query_shingles: dict[int, frozenset[int]] = {}
    compared: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        order = np.argsort(known_keys[:, band], kind="stable")
        ordered = known_keys[order, band]
        starts = np.searchsorted(ordered, query_keys[:, band], side="left")
        ends = np.searchsorted(ordered, query_keys[:, band], side="right")
        for query in np.flatnonzero((ends > starts) & ~found):
            for at in range(starts[query], min(ends[query], starts[query] + _CANDIDATES_PER_BAND)):
                pair = (int(query), int(order[at]))
                if pair in compared:
                    continue
                compared.add(pair)
                if pair[0] not in query_shingles:
                    query_shingles[pair[0]] = _shingle_set(queries[pair[0]])
                if pair[1] not in known_shingles:
                    known_shingles[pair[1]] = _shingle_set(known[pair[1]])
                if _jaccard(query_shingles[pair[0]], known_shingles[pair[1]]) >= NEAR_SIMILARITY:
                    found[query] = True
                    break
    return found


def _jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def _shingle_set(text: str) -> frozenset[int]:
    hashes, _ = _shingle_hashes([text])
    return frozenset(hashes.tolist())


def _shingle_hashes(
    texts: Sequence[str],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.intp]]:
    """Return the hashes of all shingles and where each text's begin (at least one a text)."""
    width = _SHINGLE_CHARACTERS
    padded = [text[:_MAX_CHARACTERS].ljust(width, "\0") for text in texts]
    points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    lengths = np.fromiter(map(len, padded), dtype=np.intp, count=len(padded))
    mixed = np.zeros(len(points) - width + 1, dtype=np.uint64)
    for offset in range(width):
        mixed *= np.uint64(0x100000001B3)
        mixed += points[offset : offset + len(mixed)]
    # The last width - 1 windows of a text run into the next one.
    ends = np.cumsum(lengths)
    inside = np.ones(len(mixed), dtype=np.bool_)
    for back in range(1, width):
        crossing = ends[:-1] - back
        inside[crossing] = False
    counts = lengths - (width - 1)
    starts: npt.NDArray[np.intp] = np.cumsum(counts) - counts
    return _scramble(mixed[inside]), starts


def _scramble(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix all bits of 64-bit values (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _band_keys(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return one key a band for every text, shape (texts, bands)."""
    lengths = np.fromiter(
        (max(min(len(text), _MAX_CHARACTERS), _SHINGLE_CHARACTERS) for text in texts),
        dtype=np.intp,
        count=len(texts),
    )
    batch_of = np.cumsum(lengths) // _BATCH_CHARACTERS
    edges = [0, *(np.flatnonzero(np.diff(batch_of)) + 1).tolist(), len(texts)]
    rng = np.random.default_rng(0)
    multipliers = rng.integers(1, 2**63, size=_BANDS * _BAND_ROWS, dtype=np.uint64) | np.uint64(1)
    offsets = rng.integers(0, 2**63, size=_BANDS * _BAND_ROWS, dtype=np.uint64)
    keys = np.zeros((len(texts), _BANDS), dtype=np.uint64)
    for first, last in itertools.pairwise(edges):
        hashes, starts = _shingle_hashes(texts[first:last])
        mixed = np.empty_like(hashes)
        for index in range(len(multipliers)):
            np.multiply(hashes, multipliers[index], out=mixed)
            np.add(mixed, offsets[index], out=mixed)
            # Low bits of a product see few bits of the hash; the high half sees them all.
            np.right_shift(mixed, np.uint64(32), out=mixed)
            smallest = np.minimum.reduceat(mixed, starts)
            band = keys[first:last, index // _BAND_ROWS]
            band[:] = _scramble(band * np.uint64(31) + smallest)
    return keys
