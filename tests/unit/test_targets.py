"""What a model learns beyond violating or not: from the user's columns to scores and figures."""

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from tidegate.config import DataConfig
from tidegate.data.columns import check_columns
from tidegate.data.draft import draft_config
from tidegate.data.ingest import build_snapshot
from tidegate.errors import BadInput
from tidegate.evaluation.classes import class_metrics, macro_f1, roc_auc_ovo
from tidegate.models.quality import cross_entropy
from tidegate.models.scoring import scored_rows, with_outputs
from tidegate.models.target import indicators_of, labels_of, score_of, violating_of
from tidegate.records import LABEL, Target

CLASSES = Target(
    kind="multiclass", outputs=("hate", "normal", "offensive"), violating=("hate", "offensive")
)
TASKS = Target(kind="multilabel", outputs=("y", "insult"), violating=("y",))
MULTICLASS = {"label": "kind", "task": "multiclass", "violating": ["hate", "offensive"]}
MULTILABEL = {"label": "y", "task": "multilabel", "tasks": ["insult"]}


def posts(rows=300, **columns):
    random = np.random.default_rng(0)
    kind = random.choice(["normal", "hate", "offensive"], rows)
    return pd.DataFrame(
        {
            "text": [f"word{n}" for n in range(rows)],
            "kind": kind,
            "y": (kind != "normal").astype(int),
            "insult": random.integers(0, 2, rows),
            **columns,
        }
    )


def snapshot(table, **data):
    config = DataConfig.model_validate({"source": "-", "text": "text", "columns": [], **data})
    check_columns(list(table.columns), config)
    return build_snapshot(table, config, name="t", source_digest="")


@pytest.mark.parametrize(("data", "target"), [(MULTICLASS, CLASSES), (MULTILABEL, TASKS)])
def test_the_tables_say_what_the_target_means(data, target):
    record, tables = snapshot(posts(), **data)
    assert record.target == target
    for frame in tables.values():
        y = labels_of(target, frame)
        assert indicators_of(target, y).shape == (len(frame), len(target.outputs))
        np.testing.assert_array_equal(violating_of(target, y), frame[LABEL])


def test_classes_keep_the_order_that_the_configuration_gives_them():
    order = ["normal", "offensive", "hate"]
    record, tables = snapshot(posts(), **MULTICLASS, classes=order)
    assert record.target.outputs == tuple(order)
    assert record.target.violating == ("offensive", "hate")
    table = posts().set_index("text")["kind"]
    train = tables["train"]
    assert [order[number] for number in train["_class"]] == table[train["text"]].tolist()


def test_a_class_whose_rows_no_split_takes_is_no_class():
    table = posts(split=["train", "validation", "test"] * 100)
    table.loc[:9, ["kind", "split"]] = ["undecided", "none"]
    record, _ = snapshot(table, **MULTICLASS, split="split")
    assert record.target == CLASSES


def test_without_a_label_of_its_own_a_row_of_any_task_violates():
    table = posts(threat=np.tile([0, 0, 1], 100))
    record, tables = snapshot(table, task="multilabel", tasks=["insult", "threat"])
    assert record.target.outputs == ("violating", "insult", "threat")
    for frame in tables.values():
        any_task = frame[["_task_insult", "_task_threat"]].any(axis=1)
        np.testing.assert_array_equal(frame[LABEL], any_task)


@pytest.mark.parametrize("data", [MULTICLASS, MULTILABEL])
def test_what_is_learned_never_becomes_a_feature(data):
    learned = {data["label"], *data.get("tasks", ())}
    record, _ = snapshot(posts(), **{**data, "columns": "auto", "ignore": ["kind", "y"]})
    assert learned.isdisjoint(column.name for column in record.columns)


@pytest.mark.parametrize(
    ("table", "data", "message"),
    [
        (posts(), {**MULTICLASS, "violating": ["hat"]}, "did you mean 'hate'?"),
        (posts(), {**MULTICLASS, "classes": ["hate", "normal"]}, "lacks the value 'offensive'"),
        (posts(), {**MULTICLASS, "classes": ["hat", "normal"]}, "data.classes: value 'hat'"),
        (posts(), {**MULTILABEL, "tasks": ["kind"]}, "which are not 0/1"),
        (posts(insult=1), MULTILABEL, "'insult' has one value only"),
        (posts(), {**MULTILABEL, "tasks": ["y", "insult"]}, "column 'y' is also data.label"),
        (
            posts(insult=[None] + [0, 1] * 149 + [1], threat=[0, 1] * 150),
            {**MULTILABEL, "tasks": ["insult", "threat"]},
            "1 rows have no value in column 'insult'",
        ),
        (posts(split=["train", "validation", "test"] * 100), {"split": "split"}, "no training row"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(table, data, message):
    if "task" not in data:
        train = table["split"] == "train"
        table.loc[train & (table["kind"] == "offensive"), "kind"] = "hate"
        data = {**MULTICLASS, **data}
    with pytest.raises(BadInput) as caught:
        snapshot(table, **data)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"label": "kind", "task": "multiclass"}, "needs violating"),
        ({"label": "y", "task": "multilabel"}, "go together"),
        ({"label": "y", "tasks": ["insult"]}, "go together"),
        ({"label": "y", "classes": ["a", "b"]}, "means nothing"),
        ({"task": "multilabel", "tasks": ["insult"], "violating": [1]}, "means nothing"),
        ({**MULTICLASS, "groups": ["class"]}, "cannot be named 'class'"),
        ({"task": "multiclass"}, "Field required"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        DataConfig.model_validate({"source": "-", **data})


@given(st.integers(0, 10_000))
def test_the_score_is_the_probability_of_any_violating_class(seed):
    outputs = np.random.default_rng(seed).dirichlet(np.ones(3), 20)
    score = score_of(CLASSES, outputs)
    np.testing.assert_allclose(score, 1 - outputs[:, 1])
    assert ((score >= 0) & (score <= 1)).all()
    np.testing.assert_array_equal(score_of(TASKS, outputs[:, :2]), outputs[:, 0])
    np.testing.assert_array_equal(score_of(Target(), outputs[:, :2]), outputs[:, 1])


def test_the_cross_entropy_is_that_of_the_outputs():
    outputs = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    y, weight = np.array([0, 1], dtype=np.int8), np.array([1.0, 3.0])
    assert cross_entropy(CLASSES, y, outputs, weight) == pytest.approx(
        -(np.log(0.5) + 3 * np.log(0.8)) / 4
    )
    tasks = np.array([[1, 0], [0, 1]], dtype=np.int8)
    assert cross_entropy(TASKS, tasks, outputs[:, :2], weight) == pytest.approx(
        -(np.log(0.5 * 0.75) / 2 + 3 * np.log(0.9 * 0.8) / 2) / 4
    )


def scored(target, data, rows=300):
    _, tables = snapshot(posts(rows), **data)
    split = tables["train"]
    random = np.random.default_rng(1)
    lean = indicators_of(target, labels_of(target, split)) * 0.5
    outputs = random.random(lean.shape) + lean
    outputs /= outputs.sum(axis=1, keepdims=True) if target.kind == "multiclass" else 1.5
    table = scored_rows(split, score_of(target, outputs))
    return with_outputs(table, target, split, outputs), outputs, labels_of(target, split)


def test_figures_of_classes_are_scikit_learns():
    table, outputs, y = scored(CLASSES, MULTICLASS)
    metrics = class_metrics(table, confidence=0.95)
    assert [of.name for of in metrics] == list(CLASSES.outputs)
    expected = f1_score(y, outputs.argmax(axis=1), average=None)
    np.testing.assert_allclose([of.f1 for of in metrics], expected)
    assert [of.n for of in metrics] == np.bincount(y).tolist()
    assert roc_auc_ovo(table) == pytest.approx(roc_auc_score(y, outputs, multi_class="ovo"))
    assert set(table["class"]) == set(CLASSES.outputs)


def test_every_figure_of_a_class_lies_in_its_interval_and_more_confidence_widens_it():
    table, _, _ = scored(CLASSES, MULTICLASS)
    narrow, wide = (class_metrics(table, confidence=c) for c in (0.8, 0.99))
    for some, more in zip(narrow, wide, strict=True):
        for name in ("precision", "recall", "f1", "average_precision"):
            assert more.intervals[name][0] < some.intervals[name][0] < getattr(some, name)
            assert getattr(some, name) < some.intervals[name][1] < more.intervals[name][1]
    value, (low, high) = macro_f1(table, confidence=0.95)
    assert value == pytest.approx(np.mean([of.f1 for of in narrow]))
    assert low < value < high


def test_a_row_of_weight_two_is_as_good_as_one_in_the_figures_of_classes():
    table, _, _ = scored(CLASSES, MULTICLASS)
    same = table.assign(weight=2.0)
    assert class_metrics(table.assign(weight=1.0), confidence=0.95) == class_metrics(
        same, confidence=0.95
    )


def test_figures_of_tasks_cut_each_at_one_half():
    table, outputs, y = scored(TASKS, MULTILABEL)
    expected = f1_score(y, outputs >= 0.5, average=None)
    np.testing.assert_allclose([of.f1 for of in class_metrics(table, confidence=0.9)], expected)
    assert roc_auc_ovo(table) is None


def test_two_classes_have_no_figures_of_classes():
    _, tables = snapshot(posts(), label="y")
    table = scored_rows(tables["train"], np.full(len(tables["train"]), 0.5))
    table = with_outputs(table, Target(), tables["train"], np.empty((0, 2)))
    assert class_metrics(table, confidence=0.95) == ()
    assert macro_f1(table, confidence=0.95) is None
    assert roc_auc_ovo(table) is None


def test_a_draft_for_a_label_of_classes_shows_how_to_learn_them_apart(tmp_path):
    posts()[["text", "kind"]].rename(columns={"kind": "label"}).to_parquet(tmp_path / "p.parquet")
    draft = draft_config(str(tmp_path / "p.parquet"), folder=tmp_path)
    config = yaml.safe_load(draft.replace("# task: multiclass", "task: multiclass"))
    assert DataConfig.model_validate(config["data"]).task == "multiclass"
