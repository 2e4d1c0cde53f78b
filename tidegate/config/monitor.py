"""The monitor section: how the world is watched after a release."""

from typing import Annotated

from pydantic import Field

from tidegate.config.section import Section, Share


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
