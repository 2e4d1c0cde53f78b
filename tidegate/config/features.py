"""The features section: how columns become features."""

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config.section import Section


class CleaningConfig(Section):
    """What is undone in a text before anything is made of it."""

    repair: bool = Field(True, description="broken encodings, HTML entities, width of characters")
    invisible: bool = Field(True, description="drop what takes no space, and piled-up accents")
    urls: bool = Field(True, description="addresses of pages become one token")
    users: bool = Field(True, description="mentions become one token")
    lookalikes: bool = Field(True, description="letters of another script inside a Latin word")
    leet: bool = Field(True, description="digits and signs that stand for letters inside a word")
    spacing: bool = Field(True, description="words spelt letter by letter")
    repeats: bool = Field(True, description="three and more equal characters become two")
    emoji: bool = Field(True, description="emoji become their names")
    numbers: bool = Field(False, description="numbers become one token")


class FeatureConfig(Section):
    """How columns become features."""

    cleaning: CleaningConfig = CleaningConfig()
    terms: Literal["vocabulary", "hashed"] = Field(
        "vocabulary", description="TF-IDF of the terms that training holds, or counts by hash"
    )
    hashed_bits: Annotated[int, Field(ge=8, le=22)] = Field(
        17, description="terms: hashed: each kind of term has 2 ** so many features"
    )
    max_word_features: Annotated[int, Field(ge=1)] = 40_000
    max_char_features: Annotated[int, Field(ge=1)] = 60_000
    max_inner_features: Annotated[int, Field(ge=0)] = Field(
        60_000, description="character n-grams within words; 0 leaves them out"
    )
    min_rows_with_term: Annotated[int, Field(ge=1)] = 1
    statistics: bool = Field(True, description="counts of how each text is written")
    embedding: Literal["use", "none"] = Field(
        "use", description="frozen sentence embeddings of the multilingual Universal Encoder"
    )
    encoder: str | None = Field(
        None,
        description="BERT-like encoder directory whose embeddings to add: a path, a URI or "
        "package://MODULE/FOLDER",
    )
    max_embedded_rows: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="training rows above which no embedding is computed; null: what a fifth of "
        "search.minutes computes on two cores",
    )
    cache: str | None = Field(
        None, description="folder or URI that keeps embeddings by the digest of their texts"
    )
    min_category_rows: Annotated[int, Field(ge=1)] = 10
    projection_components: Annotated[int, Field(ge=1)] = Field(
        16, description="dimensions of the fixed projection that the drift check compares"
    )
    reweight_groups: bool = Field(
        False,
        description="training weights that part label and group, for every trial",
    )
