"""The features section: how columns become features."""

from typing import Annotated

from pydantic import Field

from tidegate.config.section import Section


class FeatureConfig(Section):
    """How columns become features."""

    max_word_features: Annotated[int, Field(ge=1)] = 40_000
    max_char_features: Annotated[int, Field(ge=1)] = 60_000
    min_rows_with_term: Annotated[int, Field(ge=1)] = 1
    min_category_rows: Annotated[int, Field(ge=1)] = 10
    projection_components: Annotated[int, Field(ge=1)] = Field(
        16, description="dimensions of the fixed projection that the drift check compares"
    )
