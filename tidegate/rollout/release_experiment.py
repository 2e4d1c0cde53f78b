"""An experiment within a release: after the canary, at the step that gives the candidate its share.

It holds the release there, so that no analysis advances it; harm still rolls it back. Units are
assigned by `tidegate.rollout.unit_split`, under the release's own name, by whoever splits the
requests.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegate.config import ExperimentConfig
from tidegate.data.sources import require_column
from tidegate.errors import BadInput
from tidegate.records import ReleaseState
from tidegate.records.experiment import BegunExperiment, ExperimentPlan, ExperimentResult
from tidegate.rollout.experiment import judge_experiment
from tidegate.rollout.experiment_page import add_look
from tidegate.rollout.transitions import Step, hold, resume, return_to
from tidegate.rollout.unit_split import experiment_name
from tidegate.store import read_record, write_record

_BEGUN = "begun.json"


def keep_begun(folder: Path, state: ReleaseState, plan: ExperimentPlan) -> None:
    """Write down the plan, and since when the units are split as it says."""
    begun = BegunExperiment(plan=plan, began_at=state.step_began_at)
    write_record(folder / _BEGUN, begun)


def experiment_folder(rollout_folder: Path, state: ReleaseState) -> Path:
    """Return where plan, looks and page of a release's experiment are kept."""
    return rollout_folder / "experiments" / state.candidate


def begin_experiment(state: ReleaseState, config: ExperimentConfig, *, now: datetime) -> Step:
    """Hold a release for its experiment.

    Raises
    ------
    BadInput
        If it is not at the step that has the experiment's share, or somebody holds it.
    """
    where = f"release of {state.name} {state.candidate}"
    name = experiment_name(state.name, state.candidate)
    share = round(100 * config.candidate_share)
    if state.is_over or state.percent != share or not state.in_force:
        problem = f"is not at {share} %, where rollout.experiment splits the units"
        steps = ", ".join(map(str, state.steps))
        mend = f"wait for that step; rollout.steps [{steps}] must have it, and not be past it"
        raise BadInput(where, problem, mend)
    if state.held_by is not None:
        raise BadInput(where, f"is held by {state.held_by}", "resume it first")
    return hold(state, by=holder(name), reason="an experiment runs", now=now)


def read_begun(folder: Path) -> BegunExperiment:
    """Return the plan that `keep_begun` wrote, and when the experiment began.

    Raises
    ------
    BadInput
        If no experiment began.
    """
    try:
        return read_record(folder / _BEGUN, BegunExperiment)
    except FileNotFoundError:
        mend = "begin one: tidegate rollout experiment begin"
        raise BadInput(str(folder), "no experiment of this release began", mend) from None


def look(
    state: ReleaseState,
    config: ExperimentConfig,
    outcomes: Any,
    folder: Path,
    *,
    now: datetime,
) -> ExperimentResult:
    """Judge the outcomes so far, and keep the look and the page in the experiment's folder.

    Raises
    ------
    BadInput
        If no experiment began, or a column is missing.
    """
    begun = read_begun(folder)
    result = judge_experiment(
        config,
        outcomes,
        name=experiment_name(state.name, state.candidate),
        baseline=state.baseline,
        candidate=state.candidate,
        plan=begun.plan,
        began=datetime.fromisoformat(begun.began_at),
        now=now,
    )
    add_look(folder, result)
    return result


def act_on(state: ReleaseState, result: ExperimentResult, *, now: datetime) -> Step | None:
    """Return what a verdict does to the release that it holds; None where a person decides.

    A candidate that is better, or no worse, goes on to its last steps, where the analysis decides
    as before. A worse one is rolled back.
    """
    if state.is_over or state.held_by != holder(result.name):
        return None
    if result.verdict in ("better", "no_difference"):
        return resume(state, by=holder(result.name), reason=result.says, now=now)
    if result.verdict == "worse":
        by = holder(result.name)
        return return_to(state, state.baseline, by=by, reason=result.says, now=now)
    return None


def holder(name: str) -> str:
    """Return who holds a release while an experiment runs."""
    return f"experiment {name}"


def with_units(config: ExperimentConfig, outcomes: Any, logged: Any) -> Any:
    """Return outcomes with their unit and version, from the payload log where they lack them.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        With `config.unit`, or with ``row_id`` as the payload log has it.
    logged : callable
        Returns the log's ``row_id``, ``unit_id`` and ``model_version`` of the experiment's time.

    Raises
    ------
    BadInput
        If there is neither a unit nor a row's id.
    """
    names: Sequence[str] = [str(name) for name in outcomes.columns]
    if config.unit in names:
        return outcomes
    require_column("row_id", names, "outcomes")
    rows = logged()
    rows = rows[rows["row_id"].notna() & rows["unit_id"].notna()]
    rows = rows.drop_duplicates("row_id", keep="last").set_index("row_id")
    rows.index = rows.index.astype(str)
    ids = outcomes["row_id"].astype(str)
    found = outcomes.assign(**{config.unit: ids.map(rows["unit_id"])})
    if config.version not in names:
        found = found.assign(**{config.version: ids.map(rows["model_version"])})
    return found
