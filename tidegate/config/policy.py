"""The policy section: what the policy team demands of a model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tidegate.config.section import Section, Share

#: Ways of training that make up for what an audit of groups finds.
Mitigation = Literal["reweight", "resample", "group_robust"]


class CostConfig(Section):
    """What mistakes cost, all in one unit of money."""

    wrong_removal: Annotated[float, Field(ge=0)]
    missed_violation: Annotated[float, Field(gt=0)]
    appeal: Annotated[float, Field(ge=0)] = 0.0
    appeal_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="how many wrong removals are appealed"
    )
    review_minute: Annotated[float, Field(ge=0)] = 0.0
    review_minutes: Annotated[float, Field(ge=0)] = Field(
        1.0, description="minutes that a review or an appeal takes"
    )

    @property
    def wrong_flag(self) -> float:
        """What one wrongly removed post costs, its appeal and the appeal's review included."""
        heard = self.appeal + self.review_minutes * self.review_minute
        return self.wrong_removal + self.appeal_share * heard


class CascadeConfig(Section):
    """When a light model may answer for the heavy one."""

    max_recall_loss: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.002, description="share of the rows flagged by the heavy model that the filter may lose"
    )
    overload_recall_loss: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="the same at full load; the load knob goes from one to the other"
    )
    evidence: tuple[Literal["validation", "unlabelled", "training"], ...] = Field(
        ("validation", "unlabelled", "training"),
        description="rows that may show it; training rows need search.crossfit_folds",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "CascadeConfig":
        if self.overload_recall_loss < self.max_recall_loss:
            raise ValueError(
                f"overload_recall_loss must be at least max_recall_loss={self.max_recall_loss}, "
                f"got {self.overload_recall_loss}; write a larger one"
            )
        if not self.evidence:
            raise ValueError("evidence is empty; write [validation, unlabelled, training]")
        return self


class PolicyConfig(Section):
    """What the policy team demands of a model before it may act on posts."""

    objective: Literal["max_recall", "max_precision", "max_fpr", "min_cost"] = Field(
        "max_recall", description="what is best among the thresholds that keep the promise"
    )

    min_precision: Annotated[float, Field(gt=0, le=1)] = 0.90
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    max_fpr_gap: Annotated[float, Field(gt=0, le=1)] = 0.05
    max_gaps: Mapping[
        Literal["fnr", "precision", "selection_rate", "calibration"],
        Annotated[float, Field(gt=0, le=1)],
    ] = Field({}, description="limits of further differences between groups; others are reported")
    min_group_rows: Annotated[int, Field(ge=1)] = 50
    prevalence: Share | None = None
    insufficient_fairness: Literal["block", "allow"] = Field(
        "block", description="may a model be promoted whose fairness the data cannot settle?"
    )
    non_inferiority_margin: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="average precision that a candidate may lose to the baseline; when set, a loss "
        "below it must be shown, else only a shown loss holds",
    )
    max_holdout_uses: Annotated[int, Field(ge=1)] = Field(
        10, description="decisions after which a holdout is called worn"
    )
    fresh_holdout: bool = Field(
        True, description="split by random or group anew when the holdout is worn"
    )
    mitigate: tuple[Mitigation, ...] = Field(
        (),
        description="models trained beside the winner, shown where its audit fails: reweight "
        "(label and group independent by weights), resample (the same by drawing rows), "
        "group_robust (badly served groups weigh more)",
    )
    mitigation_wins: bool = Field(
        False, description="may such a model be released where it passes and the winner fails?"
    )
    min_recall: Share | None = Field(None, description="promised by objective: max_precision")
    max_fpr: Share | None = Field(None, description="promised by objective: max_fpr")
    costs: CostConfig | None = Field(None, description="weighed by objective: min_cost")
    posts_per_day: Annotated[float, Field(gt=0)] | None = None
    review_capacity: Annotated[float, Field(gt=0)] | None = Field(
        None, description="posts a day that people can review between leaving and acting"
    )
    segments: str | None = Field(
        None, description="group column whose values get a threshold each, under one risk budget"
    )
    cascade: CascadeConfig | None = Field(
        None,
        description="serve a light filter before the model, where it can be shown to lose "
        "no more; {} for its defaults",
    )
    class_min_precision: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        {}, description="floors of classes or tasks, where they are not min_precision"
    )
    power: Share = Field(0.8, description="chance of success for which a refusal counts rows")
    training_evidence: Literal["validation", "start", "combined"] = Field(
        "start", description="what training rows scored by models of their folds may show"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "PolicyConfig":
        needs = {"max_precision": "min_recall", "max_fpr": "max_fpr", "min_cost": "costs"}
        key = needs.get(self.objective)
        if key is not None and getattr(self, key) is None:
            raise ValueError(
                f"objective is {self.objective} but {key} is not set; write policy.{key}"
            )
        if self.review_capacity is not None and self.posts_per_day is None:
            raise ValueError("review_capacity needs posts_per_day; write how many posts come a day")
        return self
