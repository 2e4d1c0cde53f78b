"""A light model before a heavy one: which rows pass, what they cost, and how it is saved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import FeatureConfig
from tidegate.features.blocks import Blocks
from tidegate.features.featurizer import Featurizer
from tidegate.models.cascade import Cascade, Stage, fit_light
from tidegate.models.catalogue import algorithm, load_model
from tidegate.models.interface import Setting
from tidegate.records import Column, FeatureBlock, PassThroughPoint

LOGISTIC = algorithm("logistic")


def curve(*cuts):
    loads = np.linspace(0, 1, len(cuts))
    return [
        PassThroughPoint(load=load, max_loss=0.01, pass_through=cut, lost=0)
        for load, cut in zip(loads, cuts, strict=True)
    ]


class Column0:
    """Says what a block's only column says, and counts the rows it is asked for."""

    def __init__(self, family):
        self.family, self.asked = family, 0

    def predict_proba(self, X):
        self.asked += X.rows
        said = X.dense(self.family)[:, 0].astype(np.float64)
        return np.column_stack([1 - said, said])


def rows_of(light, heavy):
    said = {"words": light, "chars": heavy}
    blocks = [FeatureBlock(name=name, column="t", family=name, width=1) for name in said]

    def read(block):
        return np.asarray(said[block.name], dtype=np.float32)[:, None]

    return Blocks(len(light), blocks, read, dict)


def cascade(*cuts):
    stages = (Stage("column", {}, Column0(family)) for family in ("words", "chars"))
    return Cascade(*stages, curve(*cuts))


SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.floats(0, 0.6), st.floats(0, 0.4), st.floats(0, 1))
def test_a_row_that_passes_has_the_heavy_score_and_one_that_stops_none_above(said, low, rise, load):
    light, heavy = (np.array(column, dtype=np.float32) for column in zip(*said, strict=True))
    model = cascade(low, low + rise)
    found = model.route(rows_of(light, heavy), load)
    assert low <= found.pass_through <= low + rise
    passed = ~found.stopped
    assert (found.outputs[passed, 1] == heavy[passed].astype(np.float64)).all()
    assert (found.outputs[found.stopped, 1] < found.pass_through).all()
    assert (found.light_score == light.astype(np.float64)).all()
    assert list(found.path) == ["light" if stopped else "heavy" for stopped in found.stopped]
    assert model.heavy.model.asked == passed.sum()
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1)


def test_the_knob_turns_what_is_scored_by_default():
    model, X = cascade(0.2, 0.6), rows_of([0.1, 0.3, 0.7], [0.9, 0.9, 0.9])
    assert model.predict_proba(X)[:, 1].tolist() == pytest.approx([0.1, 0.9, 0.9])
    model.load = 1.0
    assert model.predict_proba(X)[:, 1].tolist() == pytest.approx([0.1, 0.3, 0.9])


def test_a_row_without_a_light_score_goes_to_the_heavy_model():
    found = cascade(0.2).route(rows_of([np.nan, 0.1], [0.9, 0.9]))
    assert found.path.tolist() == ["heavy", "light"]


@pytest.fixture
def posts(make_posts):
    frame = make_posts(300)
    columns = (Column(name="body", kind="text"),)
    y = frame["violating"].to_numpy(dtype=np.int8)
    config = FeatureConfig(embedding="none", max_inner_features=0)
    return frame, y, Featurizer.fit(frame, columns, y, config)


def test_heavy_features_are_computed_for_the_rows_that_pass_alone(posts, monkeypatch):
    frame, y, featurizer = posts
    seen = {}

    def counted(name, block):
        transform = block.fitted.transform

        def spy(values):
            seen[name] = seen.get(name, 0) + len(values)
            return transform(values)

        monkeypatch.setattr(block.fitted, "transform", spy)

    for name, block in featurizer._fitted.items():
        counted(name, block)
    light = fitted({"features": "words"}, featurizer.transform(frame), y)
    heavy = fitted({"features": "chars"}, featurizer.transform(frame), y)
    cut = float(np.quantile(light.predict_proba(featurizer.transform(frame))[:, 1], 0.9))
    model = Cascade(stage(light), stage(heavy), curve(cut))
    seen.clear()
    for table in (frame, frame.to_dict("list")):
        found = model.route(featurizer.transform(table))
        assert seen.pop("body:tfidf_word") == 300
        assert seen.pop("body:tfidf_char") == (~found.stopped).sum() <= 30
        seen.clear()


def test_some_rows_of_a_featurizer_are_those_rows_features(posts):
    frame, _, featurizer = posts
    whole = featurizer.transform(frame)
    expected = whole.csr("words+chars").toarray()
    for table in (frame, frame.to_dict("list")):
        X = featurizer.transform(table)
        X.csr("words")
        some = X.take(np.arange(300) % 3 == 0)
        assert (some.csr("words+chars").toarray() == expected[::3]).all()
        fewer = some.take(np.array([5, 1]))
        assert (fewer.csr("words+chars").toarray() == expected[[15, 3]]).all()
        assert fewer.texts()["body"] == [whole.texts()["body"][place] for place in (15, 3)]


def fitted(params, X, y):
    model = LOGISTIC.build({**LOGISTIC.defaults, **params}, Setting())
    return model.fit(X, y, np.ones(len(y)))


def stage(model):
    return Stage("logistic", dict(LOGISTIC.defaults), model)


def test_a_saved_cascade_scores_as_before_at_every_load(posts, tmp_path):
    frame, y, featurizer = posts
    X = featurizer.transform(frame)
    light, heavy = (fitted({"features": name}, X, y) for name in ("words", "chars"))
    before = Cascade(stage(light), stage(heavy), curve(0.1, 0.3))
    before.save(tmp_path)
    after = load_model("cascade", tmp_path)
    assert not list(tmp_path.rglob("*.pkl"))
    for load in (0.0, 0.5, 1.0):
        one, other = before.route(X, load), after.route(X, load)
        assert (one.outputs == other.outputs).all()
        assert one.stopped.any()


def test_it_learns_again_the_light_model_from_the_heavy_one(posts):
    frame, y, featurizer = posts
    X = featurizer.transform(frame)
    unfitted = [
        LOGISTIC.build({**LOGISTIC.defaults, "features": name}, Setting())
        for name in ("words", "chars")
    ]
    model = Cascade(*map(stage, unfitted), curve(0.0)).fit(X, y, np.ones(len(y)))
    light, heavy = (of.model.predict_proba(X)[:, 1] for of in (model.light, model.heavy))
    assert np.corrcoef(light, heavy)[0, 1] > 0.9


def test_soft_labels_teach_the_probability_itself(posts):
    frame, y, featurizer = posts
    X = featurizer.transform(frame)
    said = np.full(len(y), 0.3)
    student = LOGISTIC.build({**LOGISTIC.defaults, "C": 0.01, "features": "words"}, Setting())
    fit_light(student, [(X, np.ones(len(y)), said)])
    assert student.predict_proba(X)[:, 1] == pytest.approx(said, abs=0.02)
