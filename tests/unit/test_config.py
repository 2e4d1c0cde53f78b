"""The one YAML file: what it accepts, and what it says to what it does not."""

from pathlib import Path

import pytest
import yaml

from tidegate.config import PublishedSplit, RunConfig, SplitRule, load_config
from tidegate.errors import BadInput

MINIMAL = {"name": "comments", "data": {"source": "c.parquet", "text": "body", "label": "y"}}


def write(folder: Path, document: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_short_file_is_enough_and_every_knob_has_a_default(tmp_path):
    config = load_config(write(tmp_path, MINIMAL))
    assert config.data.text == ("body",)
    assert config.policy.min_precision == 0.90
    assert isinstance(config.data.split, SplitRule)
    assert config.data.split.deduplicate is True


def test_relative_paths_are_relative_to_the_file(tmp_path):
    config = load_config(write(tmp_path, MINIMAL | {"baseline": "runs/old"}))
    assert config.data.source == (str(tmp_path / "c.parquet"),)
    assert config.baseline == str(tmp_path / "runs/old")


def test_a_uri_is_left_alone(tmp_path):
    document = MINIMAL | {"data": MINIMAL["data"] | {"source": "s3://bucket/c.parquet"}}
    assert load_config(write(tmp_path, document)).data.source == ("s3://bucket/c.parquet",)


def test_a_published_split_is_not_deduplicated_unless_asked(tmp_path):
    document = MINIMAL | {"data": MINIMAL["data"] | {"split": "part"}}
    assert load_config(write(tmp_path, document)).data.split == PublishedSplit(column="part")


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("search.minutes=2", "search", "minutes", 2),
        ("search.algorithms=[logistic]", "search", "algorithms", ("logistic",)),
        ("policy.min_precision=0.8", "policy", "min_precision", 0.8),
    ],
)
def test_an_override_replaces_one_key(tmp_path, override, section, key, value):
    config = load_config(write(tmp_path, MINIMAL), [override])
    assert getattr(getattr(config, section), key) == value


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"polcy": {}}, "polcy", "did you mean 'policy'?"),
        ({"policy": {"min_precison": 0.9}}, "policy.min_precison", "did you mean 'min_precision'?"),
        ({"data": {**MINIMAL["data"], "txt": "b"}}, "data.txt", "did you mean 'text'?"),
        ({"policy": {"min_precision": 95}}, "policy.min_precision", "write 0.95"),
        ({"name": "Über Name"}, "name", "lower-case"),
        ({"data": {"source": "c.parquet"}}, "data.label", "required key 'label' is missing"),
        ({"data": {**MINIMAL["data"], "split": {"by": "time"}}}, "data", "name the time column"),
        (
            {"data": {**MINIMAL["data"], "split": {"by": "random", "holdout": 0.9}}},
            "data.split",
            "must be below 1",
        ),
        (
            {"data": {**MINIMAL["data"], "split": {"by": "random", "valdation": 0.2}}},
            "data.split.valdation",
            "did you mean 'validation'?",
        ),
        ({"data": {**MINIMAL["data"], "groups": ["score"]}}, "data", "rename that column"),
        ({"search": {"trials": "many"}}, "search.trials", "got 'many'"),
    ],
)
def test_a_broken_rule_is_told_with_its_key_its_value_and_the_mend(tmp_path, change, where, says):
    with pytest.raises(BadInput) as caught:
        load_config(write(tmp_path, MINIMAL | change))
    assert caught.value.where.endswith(where)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused_with_its_name(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"config\.yaml"):
        load_config(path)


def test_a_missing_file_is_refused_with_its_name(tmp_path):
    with pytest.raises(BadInput, match="no such configuration file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("override", ["search.minutes", "=3", "name.deep=1", "search.minutes={"])
def test_a_malformed_override_is_refused(tmp_path, override):
    with pytest.raises(BadInput, match="--set"):
        load_config(write(tmp_path, MINIMAL), [override])


def test_the_configuration_survives_a_json_round_trip():
    config = RunConfig.model_validate(MINIMAL)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
