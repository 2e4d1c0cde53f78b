"""The data section: where the rows are, what they mean, and what the data gate demands."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tidegate.config.section import Names, Section, Share

LabelValue = bool | int | float | str

#: Column names that the scored tables use themselves; a group column cannot have one of them.
RESERVED_COLUMNS = frozenset({"id", "time", "label", "weight", "score"})


class SplitRule(Section):
    """How rows are divided into train, validation and holdout."""

    by: Literal["time", "group", "random"] = "random"
    validation: Share = 0.15
    holdout: Share = 0.15
    group: str | None = Field(None, description="column whose values stay together (by: group)")
    seed: int = 0
    deduplicate: bool = Field(
        True, description="drop holdout and validation rows whose text stands in training"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SplitRule":
        if self.validation + self.holdout >= 1:
            raise ValueError(
                "validation + holdout must be below 1, "
                f"got {self.validation} + {self.holdout}; write 0.15 and 0.15"
            )
        if (self.by == "group") != (self.group is not None):
            raise ValueError("by: group and group: COLUMN go together; write both or neither")
        return self


class PublishedSplit(Section):
    """A column that already says train, validation or test for every row."""

    column: str
    deduplicate: bool = False


class MixConfig(Section):
    """Training rows of a retrain: a recent window, and a memory of what was before it."""

    recent_days: Annotated[float, Field(gt=0)] = Field(
        28.0, description="counted back from the newest training row"
    )
    memory_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of the training rows that come from before the window"
    )
    strata: Names = Field(
        (), description="columns of whose values, with the label, the memory keeps some rows each"
    )
    seed: int = 0


def _as_split(value: object) -> object:
    """Let ``split: column_name`` stand for a published split."""
    return {"column": value} if isinstance(value, str) else value


class DataConfig(Section):
    """Where the rows are and what their columns mean."""

    source: Names = Field(description="path or fsspec URI: Parquet, CSV or JSONL; or a list")
    id: str | None = None
    text: Names = ()
    label: str = Field(description="may be left out beside tasks: a row of any task violates")
    task: Literal["binary", "multiclass", "multilabel"] = Field(
        "binary", description="learn violating or not, every class of the label, or several tasks"
    )
    classes: tuple[LabelValue, ...] | None = Field(
        None, description="the label's values in the order of the outputs (task: multiclass)"
    )
    tasks: Names = Field((), description="0/1 columns beside the label (task: multilabel)")
    violating: tuple[LabelValue, ...] | None = Field(
        None, description="label values that count as 1; needed unless the label is 0/1"
    )
    time: str | None = None
    groups: Names = ()
    ignore: Names = ()
    columns: Literal["auto"] | Names = Field(
        "auto", description="numeric and categorical feature columns; auto finds them by type"
    )
    use_groups_as_features: bool = False
    split: Annotated[SplitRule | PublishedSplit, BeforeValidator(_as_split)] = SplitRule()
    history: Names = Field(
        (),
        description="numeric and categorical feature columns that a new account has none of; the "
        "bundle says so and requests may leave them out",
    )
    label_source: str | None = None
    label_weights: Mapping[str, Annotated[float, Field(ge=0)]] = {}
    golden_set: str | None = Field(
        None, description="table of labelled rows that no model's decision influenced"
    )
    unlabelled: Names = Field(
        (), description="tables with the feature columns and no labels; search.distill uses them"
    )
    functional_tests: Names = Field(
        (), description="suites to score: builtin, or tables in HateCheck's columns"
    )
    mix: MixConfig | None = Field(
        None,
        description="learn from recent rows and a memory of the past instead of all training rows; "
        "a triggered retrain sets it from monitor.trigger",
    )

    @model_validator(mode="before")
    @classmethod
    def _any_task(cls, section: object) -> object:
        if isinstance(section, dict) and section.get("tasks") and "label" not in section:
            return section | {"label": ""}
        return section

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if isinstance(self.split, SplitRule) and self.split.by == "time" and self.time is None:
            raise ValueError("split.by is time but data.time is not set; name the time column")
        if self.mix is not None and self.time is None:
            raise ValueError("mix needs to know what is recent; name the time column in data.time")
        if (self.task == "multilabel") != bool(self.tasks):
            raise ValueError(
                "task: multilabel and tasks: [COLUMN] go together; write both or neither"
            )
        if self.classes is not None and self.task != "multiclass":
            raise ValueError(f"classes means nothing with task: {self.task}; write multiclass")
        if self.task == "multiclass" and self.violating is None:
            raise ValueError("task: multiclass needs violating; say which classes violate")
        if not self.label and self.violating is not None:
            raise ValueError("violating means nothing without label; name the column of labels")
        outputs = [g for g in self.groups if g == "class" or g.startswith(("score_", "label_"))]
        if outputs and self.task != "binary":
            raise ValueError(f"groups cannot be named {outputs[0]!r}; rename that column")
        reserved = sorted(RESERVED_COLUMNS.intersection(self.groups))
        if reserved:
            raise ValueError(f"groups cannot be named {reserved[0]!r}; rename that column")
        if self.functional_tests and not self.text:
            raise ValueError("functional_tests are sentences, but data.text is not set; name it")
        if self.label_weights and self.label_source is None:
            raise ValueError("label_weights needs label_source; name the column of label sources")
        return self


class ValidationConfig(Section):
    """What the data gate demands, beyond what it derives from the data section."""

    reference: str | None = Field(None, description="a run directory whose snapshot is the norm")
    prevalence_range: tuple[float, float] | None = Field(
        None, description="refuse the data when the violating share lies outside"
    )
    prevalence_tolerance: Annotated[float, Field(gt=0, le=1)] = 0.1
    max_null_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    max_text_length: Annotated[int, Field(gt=0)] = 1_000_000
    max_duplicate_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_unseen_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.05, description="warn when more values than this were not seen in the norm"
    )
    max_length_ratio: Annotated[float, Field(gt=1)] = Field(
        2.0, description="warn when texts are this many times longer or shorter than the norm"
    )
    min_rows: Annotated[int, Field(ge=1)] = Field(10, description="fewest rows a split may have")
