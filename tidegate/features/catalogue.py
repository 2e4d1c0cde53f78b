"""The table of feature transformers: ours, and those of installed packages."""

import difflib
import functools
from importlib.metadata import entry_points

from tidegate.errors import BadInput
from tidegate.features.embedding import ENCODER, USE
from tidegate.features.hashing import HASH_CHAR, HASH_INNER, HASH_WORD
from tidegate.features.interface import Transformer
from tidegate.features.statistics import STATISTICS
from tidegate.features.tabular import CATEGORICAL, NUMERIC
from tidegate.features.text import TFIDF_CHAR, TFIDF_INNER, TFIDF_WORD

#: Their order is the order of a column's blocks in the feature matrix.
BUILT_IN: tuple[Transformer, ...] = (
    TFIDF_WORD,
    TFIDF_CHAR,
    TFIDF_INNER,
    HASH_WORD,
    HASH_CHAR,
    HASH_INNER,
    USE,
    ENCODER,
    STATISTICS,
    NUMERIC,
    CATEGORICAL,
)
ENTRY_POINT_GROUP = "tidegate.transformers"


@functools.cache
def transformers() -> tuple[Transformer, ...]:
    """Return every transformer, ours first, then those of installed packages by name.

    Raises
    ------
    BadInput
        If a package's entry point is no `Transformer` or takes a name that is taken.
    """
    table = list(BUILT_IN)
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        found = entry.load()
        where = f"entry point {entry.value} of {ENTRY_POINT_GROUP}"
        if not isinstance(found, Transformer):
            raise BadInput(
                where,
                f"must be a Transformer record, got {type(found).__name__}",
                "mend or uninstall the package",
            )
        if any(known.name == found.name for known in table):
            raise BadInput(
                where, f"the name {found.name!r} is taken", "rename or uninstall the package's"
            )
        table.append(found)
    return tuple(table)


def transformer(name: str) -> Transformer:
    """Return the transformer of that name.

    Raises
    ------
    BadInput
        If there is none; the message names the nearest.
    """
    table = {known.name: known for known in transformers()}
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"
    raise BadInput("features", f"unknown transformer {name!r}", mend)
