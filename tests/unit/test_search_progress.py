from hypothesis import given
from hypothesis import strategies as st

from tidegate.search.progress import SearchProgress

figures = st.one_of(st.none(), st.floats(0, 1))


def test_a_line_says_what_a_person_wants_to_know():
    progress = SearchProgress(
        finished=3,
        total=40,
        algorithm="xgboost",
        status="succeeded",
        average_precision=0.912,
        best=0.931,
        seconds=4.06,
        seconds_left=480.2,
    )
    assert progress.line() == (
        "trial 3/40 xgboost average_precision=0.9120 best=0.9310 (4.1 s, 480 s left)"
    )


def test_a_trial_that_did_not_succeed_says_so():
    progress = SearchProgress(
        finished=1,
        total=2,
        algorithm="logistic",
        status="failed",
        average_precision=None,
        best=None,
        seconds=0,
        seconds_left=9,
    )
    assert progress.line() == "trial 1/2 logistic failed (0.0 s, 9 s left)"


def test_another_line_of_the_log_is_no_progress():
    assert SearchProgress.parse("  ValueError: trial 3/40 went wrong") is None


@given(
    st.builds(
        SearchProgress,
        finished=st.integers(0, 999),
        total=st.integers(1, 999),
        algorithm=st.sampled_from(["logistic", "a-b_c"]),
        status=st.sampled_from(
            ["succeeded", "early_stopped", "failed", "out_of_time", "out_of_memory"]
        ),
        average_precision=figures,
        best=figures,
        seconds=st.floats(0, 1e5),
        seconds_left=st.floats(0, 1e5),
    )
)
def test_what_a_line_says_is_read_back(progress):
    again = SearchProgress.parse(progress.line() + "\n")
    assert again.line() == progress.line()
    for figure in ("average_precision", "best"):
        before, after = getattr(progress, figure), getattr(again, figure)
        assert (before is None) == (after is None)
        assert before is None or abs(before - after) <= 5e-5 + 1e-12
    assert (again.finished, again.total, again.algorithm, again.status) == (
        progress.finished,
        progress.total,
        progress.algorithm,
        progress.status,
    )
