import json

import pytest

from tidegate.config import RunConfig, SearchConfig
from tidegate.errors import BadInput
from tidegate.models.catalogue import algorithm
from tidegate.records import TrialResult
from tidegate.search.backends import cluster_settings
from tidegate.search.study import Study

LOGISTIC = algorithm("logistic")


def run_config(**changes):
    return RunConfig.model_validate(
        {"name": "comments", "data": {"source": "c.parquet", "label": "y"}, **changes}
    )


def proposals(count, *, learn=False, **changes):
    study = Study(LOGISTIC, SearchConfig.model_validate({"trials": 4, **changes}))
    points = []
    for number in range(count):
        proposal = study.propose()
        points.append(proposal.params)
        if learn:
            told = {"number": number, "algorithm": "logistic", "params": proposal.params}
            figures = {"average_precision": number / count, "seconds": 1, "status": "succeeded"}
            study.learn(proposal, TrialResult(**told, **figures))
    return points


def test_a_search_on_this_machine_does_not_depend_on_the_cluster():
    plain, moved = run_config(), run_config(cluster={"namespace": "elsewhere", "image": "x:1"})
    assert cluster_settings(plain) == cluster_settings(moved) == "{}"


@pytest.mark.parametrize(
    ("cluster", "counts"),
    [
        ({"image": "x:1"}, True),
        ({"pools": {"gpu": {"spot": True}}}, True),
        ({"pools": {"cpu": {"cpu_hour_price": 0.05}, "gpu": {}}}, False),
        ({"cpu": 8, "currency": "EUR", "endpoint": "https://kfp.example"}, False),
    ],
)
def test_a_search_on_katib_depends_on_what_its_trials_see(cluster, counts):
    search = {"backend": "katib"}
    plain = cluster_settings(run_config(search=search))
    other = cluster_settings(run_config(search=search, cluster=cluster))
    assert (plain != other) is counts
    assert "price" not in plain
    assert json.loads(plain)["workspace_claim"] == "tidegate-workspace"


def test_random_points_follow_the_defaults_and_the_seed():
    first, again = (proposals(5, strategy="random", seed=3) for _ in "ab")
    assert first[0] == LOGISTIC.defaults
    assert first == again
    assert first != proposals(5, strategy="random", seed=4)


def test_random_points_do_not_depend_on_results_and_those_of_tpe_do():
    assert proposals(14, strategy="random") == proposals(14, strategy="random", learn=True)
    assert proposals(14) != proposals(14, learn=True)


def test_a_grid_follows_the_defaults_in_its_order():
    points = proposals(5, strategy="grid")
    assert points[0] == LOGISTIC.defaults
    assert [(point["C"], point["class_weight"]) for point in points[1:]] == [
        (0.01, "none"),
        (0.01, "balanced"),
        (100.0, "none"),
        (100.0, "balanced"),
    ]


def test_hyperband_needs_katib():
    with pytest.raises(BadInput, match=r"search\.strategy: hyperband runs on Katib alone"):
        proposals(1, strategy="hyperband")
