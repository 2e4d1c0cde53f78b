"""The policy section: what the policy team demands of a model."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tidegate.config.section import Section, Share


class PolicyConfig(Section):
    """What the policy team demands of a model before it may act on posts."""

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
    mitigate: tuple[Literal["reweight"], ...] = Field(
        (), description="reweight: train with label and group made independent by weights"
    )
