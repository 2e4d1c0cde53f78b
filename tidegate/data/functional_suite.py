"""Functional tests as rows to score: our own suite, and suites in HateCheck's columns."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tidegate.data.sources import read_source, require_column
from tidegate.errors import BadInput
from tidegate.records import Column

if TYPE_CHECKING:
    import pandas as pd

#: The suite that comes with Tidegate (``functional_suite.yaml``).
BUILTIN = "builtin"
_OWN = Path(__file__).with_name("functional_suite.yaml")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_IDENTITY = "identity"
_GOLD = {"hateful": 1, "non-hateful": 0}


def read_suites(sources: Sequence[str]) -> "pd.DataFrame":
    """Return the test cases of one or more suites.

    Parameters
    ----------
    sources : sequence of str
        `BUILTIN`, or tables with the columns ``functionality``, ``case_templ``, ``test_case``,
        ``label_gold`` (hateful, non-hateful) and, where there is one, ``target_ident``.

    Returns
    -------
    DataFrame
        ``_case`` (a name), ``_functionality``, ``_template`` (a number), ``_identity`` ("" where
        a case mentions none), ``_expected`` (1 violating) and ``text``.

    Raises
    ------
    BadInput
        If a table lacks a column, or a label is neither word.

    References
    ----------
    Röttger et al., "HateCheck: functional tests for hate speech detection models", ACL 2021.
    """
    import pandas as pd

    cases: list[dict[str, object]] = []
    for source in sources:
        rows = _builtin() if source == BUILTIN else _hatecheck(source)
        templates: dict[tuple[str, str], int] = {}
        for number, (functionality, template, identity, expected, text) in enumerate(rows):
            key = (functionality, template)
            cases.append(
                {
                    "_case": f"{len(cases)}:{functionality}:{number}",
                    "_functionality": functionality,
                    "_template": f"{source}:{templates.setdefault(key, len(templates))}",
                    "_identity": identity,
                    "_expected": expected,
                    "text": text,
                }
            )
    return pd.DataFrame(cases)


def suite_uri(source: str) -> str:
    """Return where a suite lies, so that its content can be digested."""
    return str(_OWN) if source == BUILTIN else source


def as_rows(suite: "pd.DataFrame", columns: Sequence[Column]) -> "pd.DataFrame":
    """Return the cases with a snapshot's feature columns: the text in the first text column.

    Every other column is empty, as in a request that knows only the text.
    """
    import pandas as pd

    texts = [column.name for column in columns if column.kind == "text"]
    if not texts:
        raise BadInput("data.functional_tests", "the data have no text", "leave it out")
    empty: dict[str, Any] = {"text": "", "numeric": float("nan"), "categorical": None}
    filled = {
        c.name: suite["text"].tolist() if c.name == texts[0] else [empty[c.kind]] * len(suite)
        for c in columns
    }
    return pd.DataFrame({**suite.drop(columns="text"), **filled})


def _builtin() -> Iterator[tuple[str, str, str, int, str]]:
    suite = yaml.safe_load(_OWN.read_text(encoding="utf-8"))
    for functionality in suite["functionalities"]:
        for template in functionality["templates"]:
            found = _PLACEHOLDER.search(template)
            kind = found[1] if found else ""
            for filler in suite["fillers"].get(kind, [""]):
                text = template.replace("{" + kind + "}", filler)
                yield (
                    functionality["name"],
                    template,
                    filler if kind == _IDENTITY else "",
                    int(functionality["violating"]),
                    text[:1].upper() + text[1:],
                )


def _hatecheck(source: str) -> Iterator[tuple[str, str, str, int, str]]:
    table = read_source((source,))
    for name in ("functionality", "case_templ", "test_case", "label_gold"):
        require_column(name, set(table.columns), source)
    identities = table["target_ident"] if "target_ident" in table else [None] * len(table)
    columns = (table[name] for name in ("functionality", "case_templ", "label_gold", "test_case"))
    for number, ((functionality, template, gold, text), identity) in enumerate(
        zip(zip(*columns, strict=True), identities, strict=True)
    ):
        if gold not in _GOLD:
            raise BadInput(
                f"{source}: row {number + 1}",
                "label_gold must be hateful or non-hateful",
                "mend the label",
            )
        named = identity if isinstance(identity, str) else ""
        yield str(functionality), str(template), named, _GOLD[gold], str(text)
