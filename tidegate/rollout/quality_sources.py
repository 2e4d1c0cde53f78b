"""Where golden rows and labels come from, by the configuration; the same in every place."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from tidegate.config import ExplorationConfig, RunConfig
from tidegate.records import INPUT_PREFIX
from tidegate.rollout.label_evidence import Labels, LiveQuality, ServedRows
from tidegate.rollout.replay import LoggedRow
from tidegate.rollout.version_client import VersionClient

_KINDS = (".parquet", ".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


def live_quality(
    config: RunConfig, client: Callable[[str], VersionClient | None]
) -> LiveQuality | None:
    """Return what asks golden rows and joins labels; None where neither is configured.

    Parameters
    ----------
    client : callable
        From a version to a client of it; None while it is not served.
    """
    quality, log = config.rollout.quality, config.serving.payload_log
    golden: Sequence[tuple[LoggedRow, bool]] = ()
    if quality.golden_rows is not None:
        golden = golden_rows(config, quality.golden_rows)
    labels: Labels | None = None
    served: ServedRows | None = None
    if quality.labels is not None and log.uri is not None:
        labels = label_table(config, quality.labels)
        served = served_rows(log.uri, config.rollout.group_columns)
    if not golden and labels is None:
        return None
    return LiveQuality(
        config.rollout,
        client,
        golden=golden,
        labels=labels,
        served=served,
        max_weight=largest_weight(config.serving.exploration),
    )


def golden_rows(config: RunConfig, uri: str) -> list[tuple[LoggedRow, bool]]:
    """Return labelled rows of a table as requests; True is violating."""
    from tidegate.data.ingest import read_source

    frame = read_source([uri])
    label, violating = config.data.label, _violating(config)
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        (
            LoggedRow(f"golden.{number}", {k: v for k, v in row.items() if k != label}, {}),
            row[label] in violating,
        )
        for number, row in enumerate(records)
    ]


def label_table(config: RunConfig, uri: str) -> Labels:
    """Return a reader of labels whose `time` is in a window; others append to the table.

    Parameters
    ----------
    uri : str
        A file, or a folder of files, of Parquet, CSV or JSONL with the columns ``row_id``,
        ``label`` (as in the training data, or 0 and 1), ``time`` (when it was given; UTC where it
        has no zone) and, optionally, ``source``: ``appeal`` is one, all else are reviews. It need
        not be there before the first label.
    """
    violating = _violating(config)

    def labels(since: datetime, until: datetime) -> Any:
        import pandas as pd

        from tidegate.data.sources import read_source, require_column

        files = _files(uri)
        if not files:
            return pd.DataFrame({"row_id": [], "label": [], "kind": []})
        frame = read_source(files, as_text=("row_id",))
        for name in ("row_id", "label", "time"):
            require_column(name, frame.columns, "rollout.quality.labels")
        at = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
        fresh = (at > since.astimezone(UTC)) & (at <= until.astimezone(UTC))
        found = frame[fresh & frame["label"].notna()].assign(_at=at)
        found = found.sort_values("_at", kind="stable")
        source = found.get("source", pd.Series("review", index=found.index))
        return pd.DataFrame(
            {
                "row_id": found["row_id"].astype(str),
                "label": found["label"].isin(violating).astype(int),
                "kind": ["appeal" if one == "appeal" else "review" for one in source],
            }
        )

    return labels


def served_rows(uri: str, group_columns: Sequence[str]) -> ServedRows:
    """Return a reader of the payload log's rows of a window: who served them, and what was said."""
    columns = ["row_id", "time", "model_version", "decision", "action_probability"]
    columns += [f"{INPUT_PREFIX}{name}" for name in group_columns]

    def served(since: datetime, until: datetime) -> Any:
        from tidegate.serving.log_reader import read_log

        return read_log(uri, since, until, columns)[0]

    return served


def largest_weight(exploration: ExplorationConfig) -> float:
    """Return one over the least probability with which a row's action is drawn."""
    shares = (
        exploration.allow_share,
        exploration.review_share,
        *exploration.segments.values(),
    )
    return max((1 / share for share in shares if share > 0), default=1.0)


def _files(uri: str) -> list[str]:
    """Return the file itself or those of the folder; none of what is not there yet."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    if not filesystem.exists(path):
        return []
    if not filesystem.isdir(path):
        return [uri]
    found = [name for name in filesystem.find(path) if name.lower().endswith(_KINDS)]
    return [str(filesystem.unstrip_protocol(name)) for name in sorted(found)]


def _violating(config: RunConfig) -> set[Any]:
    return set(config.data.violating or ()) | {1, "1"}
