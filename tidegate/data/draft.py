"""A first configuration for a table: what `tidegate init` writes after one look."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tidegate.config import DataConfig
from tidegate.data.columns import Stored, as_names, stored_kind
from tidegate.data.ingest import build_snapshot
from tidegate.data.labels import value_name
from tidegate.data.leaks import leak_reason
from tidegate.data.sources import read_source
from tidegate.data.splits import UNDECIDED, read_published
from tidegate.data.times import read_times
from tidegate.errors import BadInput

_TEXT_NAMES = ("text", "body", "content", "message", "comment", "post", "tweet", "utterance")
_TITLE_NAMES = {"subject", "title", "headline"}
_LABEL_WORDS = {"label", "y", "target", "class", "violating", "violation", "is", "spam", "toxic"}
_LABEL_WORDS |= {
    "toxicity",
    "abusive",
    "abuse",
    "hate",
    "offensive",
    "sexist",
    "flagged",
    "category",
}
_VIOLATING = re.compile(
    r"spam|toxic|hate|offens|abus|violat|sexis|racis|harass|threat|insult|porn|scam|fraud|bad|"
    r"phish|unsafe|harm|bull|yes|true|positive",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"^(not?|non|in|un(?!safe)|anti)[ _-]?(?=[a-z])", re.IGNORECASE)
_GROUP_WORDS = {"target", "targets", "gender", "sex", "race", "religion", "language", "lang"}
_GROUP_WORDS |= {"country", "region", "community", "platform", "identity", "demographic", "dialect"}
_TIME_WORDS = {"time", "date", "timestamp", "created", "received", "posted", "published", "at"}
_TOGETHER_WORDS = {"conv", "conversation", "thread", "user", "author", "account", "session"}
_MIN_TEXT_WORDS = 3


@dataclass
class _Guess:
    """What each column seems to be; the reasons become comments."""

    id: str | None = None
    text: list[str] = field(default_factory=list)
    other_texts: list[str] = field(default_factory=list)
    label: str | None = None
    violating: list[str] | None = None
    violating_is_sure: bool = True
    classes: int = 2
    time: str | None = None
    split_column: str | None = None
    rule: dict[str, str] = field(default_factory=lambda: {"by": "random"})
    groups: list[str] = field(default_factory=list)
    ignore: dict[str, str] = field(default_factory=dict)


def draft_config(path: str, *, folder: Path | None = None) -> str:
    """Look at a table and write a commented configuration for it.

    Parameters
    ----------
    path : str
        Path or fsspec URI of the table.
    folder : Path, optional
        Where the configuration will stand; a table below it is named relative to it.

    Returns
    -------
    str
        YAML that `tidegate.config.load_config` reads. Where no column looks like a label, the key
        is left for the user to choose and loading says that it is missing.

    Raises
    ------
    BadInput
        If the table cannot be read.
    """
    table = read_source([path])
    guess = _Guess()
    kinds: dict[str, Stored] = {name: stored_kind(table[name]) for name in table.columns}
    _guess_split(guess, table, kinds)
    _guess_text(guess, table, kinds)
    _guess_label(guess, table, kinds)
    _guess_id(guess, table)
    _guess_time(guess, table, kinds)
    _guess_ignore(guess, table, kinds)
    _guess_groups(guess, table, kinds)
    _choose_rule(guess, table)
    return _written(guess, path, folder, list(table.columns))


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())


def _guess_split(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    for name in table.columns:
        if kinds[name] != "string" or table[name].nunique() > 10:
            continue
        try:
            codes = read_published(table[name].tolist(), name)
        except BadInput:
            continue
        if (codes != UNDECIDED).mean() > 0.5 and len(set(codes) - {UNDECIDED}) == 3:
            guess.split_column = name
            return


def _guess_text(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    lengths = {}
    for name in table.columns:
        values = table[name].dropna()
        if kinds[name] != "string" or not len(values):
            continue
        words = float((values.str.count(r"\S+")).mean())
        titled = _words(name)[-1:] and _words(name)[-1] in {*_TEXT_NAMES, *_TITLE_NAMES}
        if words >= _MIN_TEXT_WORDS and (titled or values.nunique() > 0.5 * len(values)):
            lengths[name] = float(values.str.len().mean()) * len(values) / len(table)
    if not lengths:
        return
    named = [name for name in _TEXT_NAMES if name in lengths]
    main = named[0] if named else max(lengths, key=lambda name: lengths[name])
    titles = [name for name in lengths if name.lower() in _TITLE_NAMES and name != main]
    guess.text = [*titles, main]
    for name in lengths:
        if name not in guess.text and main in name:
            guess.ignore[name] = f"another version of {json.dumps(main)}"
    guess.other_texts = [n for n in lengths if n not in guess.text and n not in guess.ignore]


def _guess_label(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    best = 0.0
    for name in table.columns:
        if kinds[name] not in {"numeric", "string"} or name in {guess.split_column, *guess.text}:
            continue
        values = table[name].dropna()
        distinct = values.nunique()
        if not 2 <= distinct <= 20:
            continue
        words = _words(name)
        named = bool(words) and (words[0] in _LABEL_WORDS or words[-1] in _LABEL_WORDS)
        found = {value_name(value) for value in values.unique()}
        binary = found in ({"0", "1"}, {"true", "false"})
        if not named and not (binary and best == 0):
            continue
        score = 4.0 * named + 2.0 * (found == {"0", "1"}) + 1.0 * (distinct == 2)
        score += 0.5 * (name.lower() in {"label", "y", "target", "class", "violating"})
        if score > best:
            best, guess.label = score, name
    if guess.label is None:
        return
    names = as_names(table[guess.label]).dropna()
    if {name.casefold() for name in names.unique()} <= {"0", "1", "true", "false"}:
        return
    counts = names.value_counts()
    guess.classes = len(counts)
    guess.violating = sorted(
        str(n) for n in counts.index if _VIOLATING.search(n) and not _NEGATED.match(n)
    )
    if not 0 < len(guess.violating) < len(counts):
        guess.violating, guess.violating_is_sure = [str(counts.index[-1])], False


def _guess_id(guess: _Guess, table: pd.DataFrame) -> None:
    names = [name for name in table.columns if "id" in _words(name)]
    for name in sorted(names, key=lambda name: name.lower() != "id"):
        ids = as_names(table[name])
        if ids.notna().all() and ids.is_unique:
            guess.id = name
            return


def _guess_time(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    for name in table.columns:
        hinted = bool(_TIME_WORDS.intersection(_words(name)))
        if kinds[name] != "datetime" and not (hinted and kinds[name] in {"string", "numeric"}):
            continue
        try:
            times = read_times(table[name], name).dropna()
        except BadInput:
            continue
        # A small count, of days for example, would parse as the first hours of 1970.
        if times.nunique() > 2 and times.max().year > 1990:
            guess.time = name
            return


def _guess_ignore(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    if guess.label is None:
        return
    names = as_names(table[guess.label])
    positive = set(guess.violating or ("1", "true", "True", "TRUE"))
    labelled = names.notna().to_numpy()
    labels = names[labelled].isin(positive).to_numpy().astype(np.int8)
    taken = {guess.label, guess.id, guess.time, guess.split_column}
    for name in table.columns:
        if name in taken or name in guess.text or kinds[name] not in {"numeric", "string"}:
            continue
        values = table[name][labelled]
        if kinds[name] == "string" and values.nunique() > 0.5 * len(values):
            continue
        numeric = kinds[name] == "numeric"
        reason = leak_reason(
            pd.to_numeric(values, errors="coerce") if numeric else values,
            "numeric" if numeric else "categorical",
            labels,
        )
        if reason is not None:
            guess.ignore[name] = reason.replace("training ", "").replace(" in training", "")


def _guess_groups(guess: _Guess, table: pd.DataFrame, kinds: dict[str, Stored]) -> None:
    reserved = {
        "id",
        "time",
        "label",
        "weight",
        "score",
        guess.label,
        guess.split_column,
        *guess.text,
    }
    for name in table.columns:
        if name in guess.ignore or name in reserved or kinds[name] not in {"list", "string"}:
            continue
        if not _GROUP_WORDS.intersection(_words(name)):
            continue
        if table[name].explode().dropna().nunique() <= 50:
            guess.groups.append(name)


def _choose_rule(guess: _Guess, table: pd.DataFrame) -> None:
    """Take the first rule under which the table becomes a snapshot."""
    if guess.label is None:
        return
    published = guess.split_column
    rules = [{"column": published}] if published is not None else []
    if guess.time is not None and table[guess.time].notna().mean() > 0.9:
        rules.append({"by": "time"})
    for name in table.columns:
        if (
            name not in {guess.id, guess.label, *guess.text, *guess.groups, *guess.ignore}
            and _TOGETHER_WORDS.intersection(_words(name))
            and 10 < table[name].nunique() < 0.9 * len(table)
        ):
            rules.append({"by": "group", "group": name})
    for rule in [*rules, {"by": "random"}]:
        guess.rule = rule
        if published is not None and rule.get("column") != published:
            guess.ignore[published] = "names splits that do not hold both classes"
        try:
            config = DataConfig.model_validate({"source": "-", **_data_section(guess)})
            build_snapshot(table, config, name="draft", source_digest="")
        except BadInput:
            continue
        return


def _data_section(guess: _Guess) -> dict[str, Any]:
    section: dict[str, Any] = {
        "id": guess.id,
        "text": guess.text,
        "label": guess.label,
        "violating": guess.violating,
        "time": guess.time,
        "groups": guess.groups,
        "ignore": list(guess.ignore),
        "split": guess.rule.get("column", guess.rule),
    }
    return {key: value for key, value in section.items() if value not in (None, [])}


def _written(guess: _Guess, path: str, folder: Path | None, columns: Sequence[str]) -> str:
    comments = {
        "id": "every value is different",
        "text": "free text" + _listed("; other free text here: ", guess.other_texts),
        "label": "0/1, or class names with `violating`",
        "violating": "label values that count as 1"
        if guess.violating_is_sure
        else "choose: which label values count as 1? (this is the rarest)",
        "time": "when the row came; needed for split: {by: time}",
        "groups": "sensitive slices for the fairness audit; never features unless asked",
        "split": "or a rule: {by: time|group|random, validation: 0.15, holdout: 0.15}"
        if "column" in guess.rule
        else "or name a column that says train, validation or test",
    }
    section = _data_section(guess)
    lines = [
        "# Drafted by `tidegate init`: every line is a guess to check.",
        _line("name", _slug(path), "lower-case letters, digits and hyphens"),
        "data:",
        _line("source", _relative(path, folder), "Parquet, CSV or JSONL; a list is joined", 1),
    ]
    for key in ("id", "text", "label", "violating", "time", "groups", "split"):
        if key in section:
            lines.append(_line(key, section[key], comments[key], 1))
        elif key in {"text", "label"}:
            lines.append(f"  # {key}: NAME  # choose one of{_listed(' ', columns)}")
        if key == "violating" and guess.classes > 2:
            lines.append("  # task: multiclass  # to tell every class of the label apart as well")
    if guess.ignore:
        lines.append("  ignore:  # columns that must not become features")
        lines += [f"    - {_dumped(name)}  # {why}" for name, why in guess.ignore.items()]
    lines += [
        "policy:",
        _line("min_precision", 0.9, "at least this share of flagged posts must violate", 1),
        _line("confidence", 0.95, "how sure that must be", 1),
        "search:",
        _line("algorithms", ["logistic", "xgboost"], "logistic is always the benchmark", 1),
        _line("minutes", 10, "the search stops by then", 1),
        _line("trials", 40, "or after so many", 1),
    ]
    return "\n".join(lines) + "\n"


def _listed(lead: str, names: Iterable[str]) -> str:
    # JSON quoting keeps a line break in a column's name from ending the comment.
    shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
    return f"{lead}{shown}" if shown else ""


def _line(key: str, value: object, comment: str, level: int = 0) -> str:
    return f"{'  ' * level}{key}: {_dumped(value)}  # {comment}"


def _dumped(value: object) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _slug(path: str) -> str:
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40].strip("-") or "run"


def _relative(path: str, folder: Path | None) -> str:
    if "://" in path:
        return path
    whole = Path(path).resolve()
    if folder is not None and whole.is_relative_to(folder.resolve()):
        return whole.relative_to(folder.resolve()).as_posix()
    return str(whole)
