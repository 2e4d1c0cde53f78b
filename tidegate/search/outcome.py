"""What a search found: the winner, or why there is none."""

from collections.abc import Iterable, Sequence
from typing import Literal

from tidegate.errors import BadInput
from tidegate.records import SearchResult, TrialResult

BENCHMARK_NUMBER = 0


class SearchFailed(Exception):
    """The benchmark model, or every trial that could have won, crashed."""


def best_of(results: Iterable[TrialResult], *, benchmark_can_win: bool) -> TrialResult | None:
    """Return the succeeded trial of the highest average precision, the earlier of equals."""
    succeeded = [
        result
        for result in results
        if result.status == "succeeded" and (benchmark_can_win or result.number != BENCHMARK_NUMBER)
    ]
    return max(succeeded, key=lambda r: (r.average_precision or 0.0, -r.number), default=None)


def conclude(
    results: Sequence[TrialResult],
    *,
    benchmark_can_win: bool,
    stopped_by: Literal["trials", "minutes"],
    seconds: float,
    minutes: float,
    told: str | None = None,
    waiting: str | None = None,
) -> SearchResult:
    """Return the record of a finished search on a cluster.

    Parameters
    ----------
    results : sequence of TrialResult
        In the order of their numbers, the benchmark first.
    told : str, optional
        What the cluster said of an Experiment that failed.
    waiting : str, optional
        Why pods of trials have not started.

    Raises
    ------
    BadInput
        If no trial that can win finished in time.
    SearchFailed
        If every one of them crashed, or the Experiment did.
    """
    best = best_of(results, benchmark_can_win=benchmark_can_win)
    if best is not None:
        return SearchResult(
            trials=tuple(results),
            best=best.number,
            benchmark=BENCHMARK_NUMBER,
            seconds=seconds,
            stopped_by=stopped_by,
        )
    failed = [result for result in results if result.status == "failed"]
    if failed or told:
        last = f"trial {failed[-1].number} ended with: {failed[-1].error}" if failed else told
        raise SearchFailed(f"no trial succeeded; {last}")
    raise BadInput(
        "search.minutes",
        f"no trial finished in {minutes:g} minutes",
        f"their pods could not start: {waiting}"
        if waiting
        else "give it more minutes or fewer rows",
    )
