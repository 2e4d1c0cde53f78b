"""The serving section: how the model server answers, what it keeps, and what it lets through."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tidegate.config.section import Names, Section

Part = Annotated[float, Field(ge=0, le=1)]


class PayloadLogConfig(Section):
    """What the server keeps of every scored row, for monitoring, replay and labels."""

    uri: str | None = Field(None, description="folder or fsspec URI; without it no log is kept")
    sample: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of rows kept, chosen by their id"
    )
    redact: Mapping[str, Literal["drop", "hash"]] = Field(
        {}, description="input columns that are left out, or kept as a keyed digest"
    )
    queue_rows: Annotated[int, Field(ge=1)] = Field(
        50_000, description="rows that wait to be written; more are dropped and counted"
    )
    file_rows: Annotated[int, Field(ge=1)] = 10_000
    flush_seconds: Annotated[float, Field(gt=0)] = 30.0
    retention_days: Annotated[int, Field(ge=1)] = 90
    key_variable: str = Field(
        "TIDEGATE_PAYLOAD_LOG_KEY",
        description="environment variable that holds the secret key of sample and redact",
    )


class ExplorationConfig(Section):
    """Rows whose decision is changed at random, so that later estimates are unbiased."""

    allow_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="share of flagged rows that are let through"
    )
    review_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="share of rows left alone that are sent to review"
    )
    segments: Mapping[str, Annotated[float, Field(ge=0, le=0.5)]] = Field(
        {}, description="allow_share of single segments"
    )
    never: tuple[str, ...] = Field((), description="classes that are never let through")
    key_variable: str = Field(
        "TIDEGATE_EXPLORATION_KEY", description="environment variable that holds the secret key"
    )


class ServingConfig(Section):
    """How the model server answers."""

    max_rows: Annotated[int, Field(ge=1)] = Field(1024, description="most rows of one request")
    max_body_mib: Annotated[float, Field(gt=0)] = 16.0
    max_concurrent: Annotated[int, Field(ge=1)] = Field(
        64, description="requests in hand; further ones are told to come again"
    )
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="for a body to arrive and for an answer to be given"
    )
    batch_rows: Annotated[int, Field(ge=1)] = Field(
        64, description="rows of waiting requests that are scored together"
    )
    workers: Annotated[int, Field(ge=1)] = Field(1, description="processes that share the port")
    max_explained_rows: Annotated[int, Field(ge=0)] = Field(
        16, description="rows of one request whose reasons may be asked for"
    )
    history: Names = Field(
        (), description="numeric and categorical inputs that a new account has none of"
    )
    cascade_load: Literal["auto"] | Part = Field(
        "auto",
        description="a cascade's knob: 0 keeps its promise at rest, 1 saves the most heavy calls; "
        "auto goes by the queue",
    )
    cascade_queue: tuple[Part, Part] = Field(
        (0.25, 0.75),
        description="shares of max_concurrent in hand where auto begins to turn the knob and where "
        "it stands at 1",
    )
    embedding_cache_mib: Annotated[float, Field(ge=0)] = Field(
        32.0, description="of a worker, for embeddings of texts that come again; 0: none"
    )
    embedding_cache_seconds: Annotated[float, Field(gt=0)] = Field(
        3600.0, description="age at which a kept embedding is computed again"
    )
    payload_log: PayloadLogConfig = PayloadLogConfig()
    exploration: ExplorationConfig = ExplorationConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "ServingConfig":
        begin, end = self.cascade_queue
        if begin >= end:
            raise ValueError(f"cascade_queue must ascend, got {begin:g}, {end:g}; write 0.25, 0.75")
        return self
