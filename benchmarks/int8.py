"""What int8 weights of a fine-tuned encoder save and lose, on a real set.

``python benchmarks/int8.py [--table edos.parquet] [--rows 4000] [--layers 1] [--epochs 1]``
fine-tunes the encoder that is installed as a package on some training rows of the table, writes its
graph in float32 and in int8 (dynamic quantization, as ``search.quantize`` does), and scores the
table's test rows with both. Times are processor seconds of one thread; int8 scales activations over
a batch, so that Tidegate serves it row by row and a batch is measured for comparison only. The last
line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidegate.config import FeatureConfig
from tidegate.features.featurizer import Featurizer
from tidegate.models.encoder import ENCODER
from tidegate.models.interface import Setting
from tidegate.models.onnx_encoder import quantized, scoring_session
from tidegate.models.quality import average_precision
from tidegate.models.tokens import Tokens, tokenized, tokenizer_of
from tidegate.records import Column

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_BATCH, _TIMED_ROWS, _REPEATS = 32, 256, 3


def inputs(tokens: Tokens, rows: Any) -> dict[str, Any]:
    """Return what a graph is fed for some rows."""
    ids, segments, present = tokens.padded(rows, 0)
    return {"ids": ids, "segments": segments, "present": present}


def row_ms(session: Any, tokens: Tokens, batch: int) -> float:
    """Return the least processor milliseconds a row of some passes over the first rows."""

    def once() -> float:
        begun = time.process_time()
        for start in range(0, min(_TIMED_ROWS, len(tokens.lengths)), batch):
            end = min(start + batch, len(tokens.lengths))
            session.run(None, inputs(tokens, np.arange(start, end)))
        return time.process_time() - begun

    return 1000 * min(once() for _ in range(_REPEATS)) / _TIMED_ROWS


def scores(session: Any, tokens: Tokens) -> Any:
    """Return the margin of every row, scored by itself."""
    logits = [
        session.run(None, inputs(tokens, np.array([row])))[0][0]
        for row in range(len(tokens.lengths))
    ]
    found = np.array(logits, dtype=np.float64)
    return found[:, -1] - found[:, 0] if found.shape[1] > 1 else found[:, 0]


def main() -> None:
    """Fine-tune, write both graphs, score and time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", type=Path, default=DATA / "edos.parquet")
    parser.add_argument("--label", default="y_sexist")
    parser.add_argument("--rows", type=int, default=4000, help="to learn from")
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=1, help="that learn")
    parser.add_argument("--epochs", type=int, default=2)
    asked = parser.parse_args()
    table = pd.read_parquet(asked.table, columns=["text", "split", asked.label])
    parts = [table[table.split == "train"], table[table.split == "test"]]
    kept = [asked.rows, asked.test_rows]
    train, test = (
        part.sample(min(n, len(part)), random_state=0) for part, n in zip(parts, kept, strict=True)
    )
    y, known = (part[asked.label].to_numpy().astype(np.int8) for part in (train, test))
    config = FeatureConfig(embedding="none", projection_components=2)
    featurizer = Featurizer.fit(train, (Column(name="text", kind="text"),), y, config)
    params = {**ENCODER.defaults, "layers": asked.layers, "epochs": asked.epochs}
    model: Any = ENCODER.build(params, Setting(threads=1))
    model.fit(featurizer.transform(train), y, np.ones(len(y)))
    texts = featurizer.transform(test).texts()
    tokens = tokenized(tokenizer_of(model._tokenizer_json), texts, model._longest)
    told: dict[str, Any] = {"table": asked.table.stem, "rows": len(train), "test_rows": len(test)}
    make: dict[str, Callable[[bytes], bytes]] = {"float32": bytes, "int8": quantized}
    for name, write in make.items():
        graph = write(model._graph)
        session = scoring_session(graph, 1)
        told[name] = {
            "mib": len(graph) / 2**20,
            "one_row_ms": row_ms(session, tokens, 1),
            "batch_row_ms": row_ms(session, tokens, _BATCH),
            "average_precision": average_precision(
                known, scores(session, tokens), np.ones(len(known))
            ),
        }
        print(name, told[name], flush=True)
    full, small = told["float32"], told["int8"]
    for key in ("one_row_ms", "batch_row_ms"):
        told[f"times_{key[:-3]}"] = full[key] / small[key]
    told["average_precision_lost"] = full["average_precision"] - small["average_precision"]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
