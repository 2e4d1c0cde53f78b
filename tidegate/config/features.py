"""The features section: how columns become features."""

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config.section import Section


class FeatureConfig(Section):
    """How columns become features."""

    max_word_features: Annotated[int, Field(ge=1)] = 40_000
    max_char_features: Annotated[int, Field(ge=1)] = 60_000
    max_inner_features: Annotated[int, Field(ge=0)] = Field(
        60_000, description="character n-grams within words; 0 leaves them out"
    )
    min_rows_with_term: Annotated[int, Field(ge=1)] = 1
    embedding: Literal["use", "none"] = Field(
        "use", description="frozen sentence embeddings of the multilingual Universal Encoder"
    )
    encoder: str | None = Field(
        None,
        description="BERT-like encoder directory whose embeddings to add: a path, a URI or "
        "package://MODULE/FOLDER",
    )
    max_embedded_rows: Annotated[int, Field(ge=0)] = Field(
        100_000, description="training rows above which no embedding is computed"
    )
    cache: str | None = Field(
        None, description="folder or URI that keeps embeddings by the digest of their texts"
    )
    min_category_rows: Annotated[int, Field(ge=1)] = 10
    projection_components: Annotated[int, Field(ge=1)] = Field(
        16, description="dimensions of the fixed projection that the drift check compares"
    )
