"""The rollout and monitor sections: how a model reaches traffic and how it is watched."""

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config.section import Section, Share


class RolloutConfig(Section):
    """How a promoted candidate reaches traffic."""

    approval: Literal["auto", "manual"] = "auto"
    model_store: str | None = Field(
        None, description="folder of released bundles [.tidegate/models beside the run]"
    )


class MonitorConfig(Section):
    """How the drift check reads a window."""

    p_value: Share = 0.01
    max_rows: Annotated[int, Field(ge=50)] = Field(
        1000, description="rows a side that the quadratic tests see"
    )
    permutations: Annotated[int, Field(ge=20)] = 200
    min_rows: Annotated[int, Field(ge=2)] = Field(
        20, description="a window or reference of fewer rows is not tested"
    )
    moved_features: Annotated[int, Field(ge=1)] = Field(
        5, description="how many of the features that moved most are named"
    )
    seed: int = 0
