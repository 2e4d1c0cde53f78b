"""Ours and third parties' transformers in one table."""

from importlib.metadata import EntryPoint

import pytest

from tidegate.errors import BadInput
from tidegate.features import catalogue
from tidegate.features.interface import Transformer
from tidegate.features.tabular import NUMERIC

THIRD_PARTY = Transformer("rank", "numeric", NUMERIC.build, NUMERIC.restore, "tabular")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that a package offers an attribute of this module as a transformer."""

    def install(attribute):
        entry = EntryPoint("x", f"{__name__}:{attribute}", catalogue.ENTRY_POINT_GROUP)
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[attribute])
        monkeypatch.setattr(catalogue, "entry_points", lambda group: [entry])
        catalogue.transformers.cache_clear()

    yield install
    catalogue.transformers.cache_clear()


def test_an_installed_package_adds_a_transformer_after_ours(installed):
    installed("THIRD_PARTY")
    assert catalogue.transformers() == (*catalogue.BUILT_IN, THIRD_PARTY)
    assert catalogue.transformer("rank") is THIRD_PARTY


def test_a_package_may_not_take_a_name_that_is_taken(installed):
    installed("NUMERIC")
    with pytest.raises(BadInput, match="the name 'numeric' is taken"):
        catalogue.transformers()


def test_an_entry_point_that_is_no_transformer_is_refused(installed):
    installed("pytest")
    with pytest.raises(BadInput, match="must be a Transformer record, got module"):
        catalogue.transformers()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'tfidf_word'"):
        catalogue.transformer("tfidf_words")


def test_a_name_far_from_all_is_answered_with_the_list():
    with pytest.raises(
        BadInput,
        match=", ".join(record.name for record in catalogue.BUILT_IN),
    ):
        catalogue.transformer("qqqqqq")
