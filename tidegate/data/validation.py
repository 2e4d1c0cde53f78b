"""The data gate: Great Expectations' one door."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate import store
from tidegate.config import DataConfig, ValidationConfig
from tidegate.data.expectations import Planned, gate_message, plan_expectations, prepare_frame
from tidegate.data.ingest import load_snapshot, read_split
from tidegate.errors import BadInput
from tidegate.records import (
    GROUP_PREFIX,
    ID,
    LABEL,
    SPLITS,
    TIME,
    Expectation,
    Snapshot,
    SplitName,
    ValidationReport,
)

__all__ = ["gate_message", "require_passed", "validate"]

_SITE = "tidegate"


def validate(
    snapshot_folder: Path, *, config: ValidationConfig, data: DataConfig, out: Path
) -> ValidationReport:
    """Check a snapshot against its configuration and its norm.

    Every split is checked by a Great Expectations Checkpoint; no row reaches the record or the
    Data Docs, only counts and aggregates.

    Parameters
    ----------
    snapshot_folder : Path
        What `tidegate.data.ingest.ingest` wrote.
    config : ValidationConfig
        What the gate demands; ``reference`` names a run directory whose ``snapshot.json`` is the
        norm.
    data : DataConfig
        What the columns mean.
    out : Path
        Folder to write: ``validation.json`` and the Data Docs under ``docs/``.

    Raises
    ------
    BadInput
        If the snapshot or the reference is not there. A failed gate is a value.
    """
    snapshot = load_snapshot(snapshot_folder)
    reference = None if config.reference is None else load_snapshot(Path(config.reference))
    now = datetime.now(UTC)
    with store.new_directory(out) as folder:
        context = _context(folder / "docs")
        expectations: list[Expectation] = []
        for split in SPLITS:
            planned = plan_expectations(
                snapshot, split, reference=reference, config=config, data=data, now=now
            )
            frame = prepare_frame(
                read_split(snapshot_folder, split), snapshot, reference or snapshot
            )
            answers = _run_checkpoint(context, snapshot.name, split, frame, planned)
            expectations += [
                _recorded(split, plan, answer, _shown_names(data))
                for plan, answer in zip(planned, answers, strict=True)
            ]
        context.build_data_docs(site_names=[_SITE])
        if reference is not None:
            expectations.append(_label_names(snapshot, reference, data))
        report = ValidationReport(
            passed=all(e.passed for e in expectations if e.severity == "critical"),
            expectations=tuple(expectations),
        )
        store.write_record(folder / "validation.json", report)
    return report


def _context(docs: Path) -> Any:
    # Read when the library is imported: no usage event may leave this machine.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.delete_data_docs_site("local_site")
    context.add_data_docs_site(
        _SITE,
        {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(docs.resolve()),
            },
            "show_how_to_buttons": False,
        },
    )
    return context


def _run_checkpoint(
    context: Any, name: str, split: SplitName, frame: Any, planned: Sequence[Planned]
) -> list[Any]:
    """Run one Checkpoint and return its answers in the order of `planned`."""
    import great_expectations as gx
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    source = context.data_sources.add_pandas(f"{name} {split}")
    batch = source.add_dataframe_asset(split).add_batch_definition_whole_dataframe(split)
    suite = gx.ExpectationSuite(
        name=split,
        expectations=[
            ExpectationConfiguration(
                type=plan.name,
                kwargs={**plan.arguments, **({"column": plan.column} if plan.column else {})},
                meta={"position": position},
                severity=plan.severity,
            ).to_domain_obj()
            for position, plan in enumerate(planned)
        ],
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name=split, data=batch, suite=context.suites.add(suite))
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=split,
            validation_definitions=[definition],
            # SUMMARY would quote twenty unexpected values: rows have no place in a report.
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": 0},
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame})
    answers = [answer for run in outcome.run_results.values() for answer in run.results]
    return sorted(answers, key=lambda answer: answer.expectation_config.meta["position"])


def _recorded(
    split: SplitName, plan: Planned, answer: Any, shown: Mapping[str, str]
) -> Expectation:
    return Expectation(
        split=split,
        name=plan.name,
        column=None if plan.column is None else shown.get(plan.column, plan.column),
        severity=plan.severity,
        passed=bool(answer.success),
        unexpected_count=answer.result.get("unexpected_count"),
        observed=_observed(answer),
        expected=plan.expected,
    )


def _observed(answer: Any) -> str | None:
    result = answer.result
    if "observed_value" in result:
        value = result["observed_value"]
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if "unexpected_percent" in result:
        percent = result["unexpected_percent"]
        return "no values" if percent is None else f"{percent:.3g} % unexpected"
    # Without a result the check itself could not run; its own message may quote values.
    return None if answer.expectation_config.type == "expect_column_to_exist" else "not computable"


def _shown_names(data: DataConfig) -> dict[str, str]:
    """Return the user's names of the role columns."""
    names = {ID: data.id or "row number", LABEL: data.label or data.tasks[0]}
    if data.time is not None:
        names[TIME] = data.time
    return names | {GROUP_PREFIX + group: group for group in data.groups}


def _label_names(snapshot: Snapshot, reference: Snapshot, data: DataConfig) -> Expectation:
    """Compare the label's own values, which the tables hold only as 0 and 1."""
    unseen = sorted(set(snapshot.label_values) - set(reference.label_values))
    return Expectation(
        split="train",
        name="expect_column_distinct_values_to_be_in_set",
        column=data.label or None,
        severity="warning",
        passed=not unseen,
        unexpected_count=sum(snapshot.label_values[name] for name in unseen),
        observed=f"{len(snapshot.label_values)} different values, {len(unseen)} of them new",
        expected=f"the {len(reference.label_values)} values of the reference",
    )


def require_passed(report: ValidationReport) -> None:
    """End the run when the gate is shut.

    Raises
    ------
    BadInput
        If a critical expectation failed; it names expectation, column and count, never a row.
    """
    message = gate_message(report)
    if message is not None:
        raise BadInput(
            "data validation", message, "mend the data or the rule; see validation/docs/index.html"
        )
