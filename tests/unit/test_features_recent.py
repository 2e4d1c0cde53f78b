"""Embeddings that come again are kept, within bytes and age."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tidegate.config import ServingConfig
from tidegate.features.embedding import EmbeddingBlock
from tidegate.features.recent import ENTRY_BYTES, RecentRows, key_of
from tidegate.serving.server import keep_recent

WIDTH = 4
ROW_BYTES = WIDTH * 4 + ENTRY_BYTES


class Lengths:
    """An encoder that says how long a text is, and keeps what it was asked."""

    width, digest = WIDTH, "lengths"

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        return np.array([[len(text)] * WIDTH for text in texts], dtype=np.float32)


def block_with(rows=10, seconds=60.0, told=None, clock=lambda: 0.0):
    encoder = Lengths()
    block = EmbeddingBlock(encoder)
    recent = RecentRows(
        "texts", max_bytes=rows * ROW_BYTES, max_age_seconds=seconds, told=told, clock=clock
    )
    block.reuse(recent)
    return encoder, block


@given(st.lists(st.lists(st.sampled_from(["", "a", "bb", "ccc", "dddd"]), max_size=6), max_size=8))
def test_the_answer_is_the_same_as_without_it(batches):
    _, block = block_with(rows=2)
    for batch in batches:
        expected = EmbeddingBlock(Lengths()).transform(batch)
        assert (block.transform(batch) == expected).all()


def test_a_text_that_comes_again_is_not_embedded_again_and_both_are_told():
    uses = []
    encoder, block = block_with(told=uses.append)
    block.transform(["one", "two"])
    block.transform(["two", "three"])
    assert encoder.asked == ["one", "two", "three"]
    assert [(use.hits, use.misses, use.evictions) for use in uses] == [(0, 2, 0), (1, 1, 0)]
    assert uses[-1].held_bytes == 3 * ROW_BYTES


def test_the_least_lately_used_leave_when_the_bytes_are_full():
    uses = []
    encoder, block = block_with(rows=2, told=uses.append)
    for text in ("one", "two", "one", "three", "one", "two"):
        block.transform([text])
    assert encoder.asked == ["one", "two", "three", "two"]
    assert sum(use.evictions for use in uses) == 2
    assert max(use.held_bytes for use in uses) <= 2 * ROW_BYTES


def test_an_embedding_past_its_age_is_computed_again_however_often_it_was_used():
    now = [0.0]
    encoder, block = block_with(seconds=10.0, clock=lambda: now[0])
    for moment in (0.0, 6.0, 10.0, 11.0, 12.0):
        now[0] = moment
        block.transform(["one"])
    assert encoder.asked == ["one", "one"]


def test_a_row_larger_than_the_cache_is_answered_and_not_kept():
    encoder, block = block_with(rows=0)
    assert block.transform(["one"]).tolist() == [[3.0] * WIDTH]
    block.transform(["one"])
    assert encoder.asked == ["one", "one"]


def test_the_key_tells_encoders_apart():
    assert key_of("a", "text") != key_of("b", "text")
    assert key_of("a", "text") == key_of("a", "text")


class Served:
    """What `keep_recent` needs of a bundle."""

    def __init__(self, *blocks):
        self.featurizer = self
        self.manifest = self
        self.name, self.version = "cached", "v1"
        self._blocks = blocks

    def reusing(self):
        return {f"text{number}:use": block for number, block in enumerate(self._blocks)}


def test_a_servers_metrics_tell_hits_misses_and_bytes_of_each_cache():
    blocks = [EmbeddingBlock(Lengths()), EmbeddingBlock(Lengths())]
    keep_recent(Served(*blocks), ServingConfig())
    blocks[1].transform(["one"])
    blocks[1].transform(["one"])
    labels = {"model_name": "cached", "model_version": "v1", "cache": "text1:use"}
    figures = [
        REGISTRY.get_sample_value(f"tidegate_cache_{name}", labels)
        for name in ("hits_total", "misses_total", "evictions_total", "bytes")
    ]
    assert figures == [1, 1, 0, ROW_BYTES]


def test_none_is_kept_where_the_configuration_says_so():
    encoder = Lengths()
    block = EmbeddingBlock(encoder)
    keep_recent(Served(block), ServingConfig(embedding_cache_mib=0))
    block.transform(["one"])
    block.transform(["one"])
    assert encoder.asked == ["one", "one"]
