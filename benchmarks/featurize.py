"""Rows a second and peak memory of the TF-IDF features against scikit-learn's vectorizers.

``python benchmarks/featurize.py [--rows N ...] [--table FILE --column TEXT]`` fits and transforms
words and signs (1 to 3) and characters (3 to 5), 40,000 and 60,000 of them, on synthetic text or
on a table's; each in a process of its own, one after the other. The last line is one JSON object.

``python benchmarks/featurize.py --cleaning TABLE --column TEXT --label Y --split S`` says what each
cleaning rule does to the average precision of a logistic regression on the same features;
``--families TABLE`` with the same options compares the families, ``--hashed TABLE`` terms of a
vocabulary with hashed ones.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tidegate.config import FeatureConfig
from tidegate.features.text import TFIDF_CHAR, TFIDF_WORD

SIDES = ("tidegate", "scikit-learn")
CHOICES = (
    "words+chars",
    "words+inner",
    "words+chars+embedding",
    "words+inner+embedding",
    "embedding",
)
LABELS = np.zeros(0, dtype=np.int8)


def synthetic(rows: int, characters: int = 100) -> list[str]:
    """Return texts of words whose frequencies fall as their rank rises (Zipf), a few misspelt."""
    generator = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = [
        "".join(generator.choice(letters, size=size)) for size in generator.integers(2, 10, 50_000)
    ]
    per_row = max(1, characters // 6)
    ranks = generator.zipf(1.3, size=(rows, per_row)) % len(words)
    signs = np.array(["", "", "", ",", ".", "!"])[generator.integers(0, 6, size=(rows, per_row))]
    return [
        " ".join(words[rank] + sign for rank, sign in zip(row, ends, strict=True))
        for row, ends in zip(ranks.tolist(), signs.tolist(), strict=True)
    ]


def texts_of(options: argparse.Namespace, rows: int) -> list[str]:
    """Return so many texts, of the table again and again or synthetic."""
    if options.table is None:
        return synthetic(rows)
    import pandas as pd

    found = pd.read_parquet(options.table)[options.column].astype(str).tolist()
    return (found * -(-rows // len(found)))[:rows]


def by_tidegate(texts: Sequence[str]) -> list[Any]:
    config = FeatureConfig()
    blocks = (record.build(config) for record in (TFIDF_WORD, TFIDF_CHAR))
    return [block.fit(texts, LABELS).transform(texts) for block in blocks if block is not None]


def by_scikit_learn(texts: Sequence[str]) -> list[Any]:
    same: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    pair = (
        TfidfVectorizer(
            token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 3), max_features=40_000, **same
        ),
        TfidfVectorizer(
            analyzer="char",
            ngram_range=(3, 5),
            max_features=60_000,
            preprocessor=lambda text: " ".join(text.lower().split()),
            **same,
        ),
    )
    return [vectorizer.fit_transform(texts) for vectorizer in pair]


def measure(side: str, texts: Sequence[str]) -> dict[str, float]:
    """Return seconds, rows a second, peak memory above the texts', and what came out."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used, started = time.process_time(), time.perf_counter()
    parts = (by_tidegate if side == "tidegate" else by_scikit_learn)(texts)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": round(seconds, 2),
        "rows_a_second": round(len(texts) / seconds),
        "cpu_seconds": round(time.process_time() - used, 2),
        "mib": round((peak - before) / 1024),
        "features": sum(part.shape[1] for part in parts),
        "entries_a_row": round(sum(part.nnz for part in parts) / len(texts), 2),
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both sides at every number of rows, each in its own process; print a table."""
    print("| rows | by | s | rows/s | CPU s | MiB above the texts | features | entries a row |")
    print("|" + " --- |" * 8)
    figures: dict[str, Any] = {}
    for rows in options.rows:
        for side in options.sides:
            command = [sys.executable, __file__, "--one", side, "--rows", str(rows)]
            if options.table is not None:
                command += ["--table", str(options.table), "--column", options.column]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout)
            figures[f"{rows} {side}"] = found
            print("|", rows, "|", side, "|", " | ".join(map(str, found.values())), "|", flush=True)
    return figures


def halves(path: Path, options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the labelled rows of the published training split, sampled, and of the others."""
    import pandas as pd

    table = pd.read_parquet(path)
    table = table[table[options.label].notna() & table[options.split].notna()]
    train = table[table[options.split] == "train"]
    train = train.sample(min(len(train), options.sample), random_state=0)
    return train, table[table[options.split].isin(["val", "validation", "dev", "valid", "test"])]


def families(options: argparse.Namespace) -> dict[str, Any]:
    """Return the average precision of a logistic regression by the families that it reads."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    from tidegate.config import FeatureConfig
    from tidegate.features.featurizer import Featurizer
    from tidegate.records import Column

    train, test = halves(options.families, options)
    test = test.sample(min(len(test), options.sample), random_state=0)
    y, z = (rows[options.label].astype(int).to_numpy() for rows in (train, test))
    columns = (Column(name=options.column, kind="text"),)
    figures: dict[str, Any] = {}
    for statistics in (True, False):
        config = FeatureConfig(statistics=statistics)
        featurizer = Featurizer.fit(train, columns, y, config)
        X, Z = featurizer.transform(train), featurizer.transform(test)
        for chosen in CHOICES if statistics else CHOICES[:1]:
            model = LogisticRegression(C=4, solver="liblinear").fit(X.csr(chosen), y)
            found = average_precision_score(z, model.decision_function(Z.csr(chosen)))
            name = chosen if statistics else f"{chosen}, without statistics"
            figures[name] = round(found, 4)
            print(f"| {name} | {found:.4f} |", flush=True)
    return figures


def hashes(options: argparse.Namespace) -> dict[str, Any]:
    """Return the average precision of a logistic regression on hashed terms by their bits."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    from tidegate.config import FeatureConfig
    from tidegate.features.featurizer import Featurizer
    from tidegate.records import Column

    train, test = halves(options.hashed, options)
    y, z = (rows[options.label].astype(int).to_numpy() for rows in (train, test))
    columns = (Column(name=options.column, kind="text"),)
    settings: dict[str, dict[str, Any]] = {"vocabulary": {"max_inner_features": 0}}
    for bits in (12, 14, 16, 17, 18):
        settings[f"{bits} bits"] = {"terms": "hashed", "hashed_bits": bits, "max_inner_features": 0}
    figures: dict[str, Any] = {}
    for name, told in settings.items():
        config = FeatureConfig.model_validate({"embedding": "none", **told})
        featurizer = Featurizer.fit(train, columns, y, config)
        X, Z = (featurizer.transform(rows).csr("words+chars") for rows in (train, test))
        model = LogisticRegression(C=4, solver="liblinear").fit(X, y)
        figures[name] = round(average_precision_score(z, model.decision_function(Z)), 4)
        print(f"| {name} | {figures[name]:.4f} |", flush=True)
    return figures


def ablate(options: argparse.Namespace) -> dict[str, Any]:
    """Return the average precision with no rule, each rule alone, and the default."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    from tidegate.config import CleaningConfig, FeatureConfig
    from tidegate.features.cleaning import RULES, clean
    from tidegate.features.text import TFIDF_CHAR, TFIDF_WORD

    train, test = halves(options.cleaning, options)
    nothing = CleaningConfig(**dict.fromkeys(RULES, False))
    alone = {rule: nothing.model_copy(update={rule: True}) for rule in RULES}
    figures: dict[str, Any] = {}
    print("| rule | training rows changed | average precision |\n| --- | --- | --- |")
    for name, config in {"none": nothing, **alone, "default": CleaningConfig()}.items():
        changed: dict[str, int] = {}
        texts = clean(train[options.column].tolist(), config, changed)
        if name in RULES and not changed[name]:
            continue
        held_out = clean(test[options.column].tolist(), config)
        pairs = []
        for record in (TFIDF_WORD, TFIDF_CHAR):
            block = record.build(FeatureConfig()).fit(texts, LABELS)
            pairs.append((block.transform(texts), block.transform(held_out)))
        X, Z = (sparse.hstack(side).tocsr() for side in zip(*pairs, strict=True))
        model = LogisticRegression(C=4, solver="liblinear").fit(X, train[options.label].astype(int))
        found = average_precision_score(test[options.label].astype(int), model.decision_function(Z))
        figures[name] = {"rows": sum(changed.values()), "average_precision": round(found, 4)}
        print(f"| {name} | {sum(changed.values())} | {found:.4f} |", flush=True)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--split", default="split")
    parser.add_argument(
        "--sample", type=int, default=6000, help="training rows of --cleaning and --families"
    )
    parser.add_argument("--cleaning", type=Path)
    parser.add_argument("--families", type=Path)
    parser.add_argument("--hashed", type=Path)
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.one is not None:
        print(json.dumps(measure(options.one, texts_of(options, options.rows[0]))))
        return
    asked = ((options.cleaning, ablate), (options.families, families), (options.hashed, hashes))
    run = next((run for table, run in asked if table is not None), compare)
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
