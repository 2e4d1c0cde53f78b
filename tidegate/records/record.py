"""What every record is, and the words that several of them share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

SplitName = Literal["train", "validation", "holdout"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "holdout")

Interval = tuple[float, float]


class Record(BaseModel):
    """A frozen value; an unknown field is a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")
