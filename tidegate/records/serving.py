"""What the model server decided, and the columns of the payload log that keeps it."""

from collections.abc import Mapping
from typing import Literal

from tidegate.records.record import Record
from tidegate.records.scores import CalibrationMap, ReferenceMapping

#: What happens to a post: acted on, looked at by people, or left alone.
ServedDecision = Literal["flagged", "review", "leave"]

#: Columns of the payload log; inputs follow under their own names with `INPUT_PREFIX`.
#: `time` is UTC with microseconds. `event_id` is unique to a served row, `row_id` is the client's
#: own (a post's id, that labels come back under; null where the client gave none). `decision` is
#: what the thresholds say and `action` what was answered: they differ where `explored`.
#: `action_probability` is the chance with which that action was drawn. `unit_id` and `arm` are of
#: an experiment: who was assigned, for example the account, and to which version; null without one.
PAYLOAD_COLUMNS = (
    "event_id",
    "row_id",
    "time",
    "model_name",
    "model_version",
    "score",
    "threshold",
    "decision",
    "action",
    "explored",
    "action_probability",
    "segment",
    "path",
    "unit_id",
    "arm",
)
#: Ids of rows that a release sends to compare two versions start so; no client sent them.
REPLAY_PREFIX = "replay:"
INPUT_PREFIX = "input_"


class DecisionRule(Record):
    """How a score becomes a decision, beside the bundle's `threshold`.

    A row whose score is at least the threshold of its segment (its value in the input column
    `segment_column`; the bundle's threshold for any other value, none where it is None) is
    flagged; one that reaches `review_threshold` and is not flagged goes to review. With
    `class_thresholds`, an output whose probability reaches its own threshold is named for the row;
    whether the row is flagged goes by its score. Thresholds are on the model's own scale;
    `calibration` and `scale` say what is answered beside the score, the scale before the
    calibration (`tidegate.decision_rule.answered_scores`).
    """

    review_threshold: float | None = None
    segment_column: str | None = None
    segment_thresholds: Mapping[str, float | None] = {}
    class_thresholds: Mapping[str, float | None] = {}
    calibration: CalibrationMap | None = None
    scale: ReferenceMapping | None = None


class UnreadableFile(Record):
    """A file of the payload log that a reading left out, and why."""

    name: str
    problem: str


class LogReading(Record):
    """What a reading of the payload log found between `since` and `until` (UTC, ISO 8601).

    `rows` are those returned. `duplicates` came twice and count once. `late_rows` are among the
    rows: they lay in a folder of a later hour than their time. `misplaced_rows` are not: their time
    is missing, or so far from the hour of their folder that a clock must have been wrong.
    `copied_rows` were sent by a release to compare two versions, and left out; `unreadable` files
    stay where they are. `absent_columns` were asked for and are in no file;
    `retyped_columns` had several types and came as text.
    """

    since: str
    until: str
    rows: int
    files: int
    duplicates: int = 0
    late_rows: int = 0
    misplaced_rows: int = 0
    copied_rows: int = 0
    unreadable: tuple[UnreadableFile, ...] = ()
    absent_columns: tuple[str, ...] = ()
    retyped_columns: tuple[str, ...] = ()
