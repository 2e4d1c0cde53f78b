import pytest

from tidegate.config import SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithm, algorithms, learnable


def test_the_default_configuration_names_known_algorithms():
    assert set(SearchConfig().algorithms) <= set(algorithms())


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    with pytest.raises(BadInput) as refused:
        algorithm("xgbost")
    assert (
        str(refused.value)
        == "search.algorithms: unknown algorithm 'xgbost'; did you mean 'xgboost'?"
    )


def test_a_name_like_none_is_refused_with_all_of_them():
    with pytest.raises(BadInput, match="known algorithms: logistic, xgboost, knn, neural, encoder"):
        algorithm("zzz")


def test_an_installed_package_adds_an_algorithm(plugin):
    plugin("other", "OTHER = replace(LOGISTIC, name='other')")
    assert algorithm("other").name == "other"
    assert list(algorithms())[-1] == "other"


def test_an_installed_package_cannot_replace_an_algorithm(plugin):
    plugin("other", "OTHER = LOGISTIC")
    with pytest.raises(ValueError, match="repeats the algorithm 'logistic'"):
        algorithms()


def test_a_net_is_refused_before_the_search_where_torch_is_not_installed(monkeypatch):
    monkeypatch.setattr("tidegate.models.catalogue.find_spec", lambda _: None)
    assert learnable("xgboost").name == "xgboost"
    with pytest.raises(BadInput, match="'neural' needs torch"):
        learnable("neural")
