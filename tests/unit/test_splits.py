import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import SplitRule
from tidegate.data import splits
from tidegate.errors import BadInput

shares = st.floats(0.05, 0.4)


def _rule(by, validation=0.15, holdout=0.15, seed=0):
    group = "g" if by == "group" else None
    return SplitRule(by=by, validation=validation, holdout=holdout, group=group, seed=seed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), shares, shares)
def test_time_order_is_kept_and_equal_times_never_straddle(times, validation, holdout):
    times = np.array(times, dtype=np.int64)
    codes = splits.split_by_time(times, _rule("time", validation, holdout))
    assert set(codes) <= {0, 1, 2}
    # Sorted by time, the codes never fall; equal times share one code.
    order = np.argsort(times, kind="stable")
    assert (np.diff(codes[order]) >= 0).all()
    for moment in set(times.tolist()):
        assert len(set(codes[times == moment])) == 1


@settings(deadline=None)
@given(st.permutations(range(100)), shares, shares)
def test_distinct_times_give_the_asked_shares(times, validation, holdout):
    codes = splits.split_by_time(np.array(times), _rule("time", validation, holdout))
    assert (codes == splits.HOLDOUT).sum() == pytest.approx(100 * holdout, abs=1)
    assert (codes == splits.VALIDATION).sum() == pytest.approx(100 * validation, abs=1)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=300), st.integers(0, 5))
def test_a_group_never_straddles_and_shares_are_met_within_one_group(groups, seed):
    rule = _rule("group", seed=seed)
    codes = splits.split_by_group(groups, rule)
    of_group = {}
    for group, code in zip(groups, codes, strict=True):
        assert of_group.setdefault(group, code) == code
    largest = max(groups.count(group) for group in set(groups))
    for code, share in enumerate((0.7, 0.15, 0.15)):
        assert (codes == code).sum() <= len(groups) * share + largest


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=50), st.randoms())
def test_the_group_split_does_not_depend_on_the_order_of_rows(groups, random):
    rule = _rule("group")
    shuffled = list(groups)
    random.shuffle(shuffled)
    before = dict(zip(groups, splits.split_by_group(groups, rule), strict=True))
    after = dict(zip(shuffled, splits.split_by_group(shuffled, rule), strict=True))
    assert before == after


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=60, unique=True),
    st.lists(st.text(max_size=8), max_size=60),
    st.integers(0, 5),
)
def test_added_rows_do_not_move_old_ones_in_a_random_split(old, new, seed):
    rule = _rule("random", seed=seed)
    before = splits.split_at_random(old, rule)
    after = splits.split_at_random([*new, *old], rule)[len(new) :]
    assert before.tolist() == after.tolist()


def test_a_random_split_meets_the_asked_shares_and_follows_the_seed():
    ids = [str(row) for row in range(20_000)]
    codes = splits.split_at_random(ids, _rule("random", 0.2, 0.1))
    assert np.bincount(codes) / len(ids) == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    other = splits.split_at_random(ids, _rule("random", 0.2, 0.1, seed=1))
    assert (codes != other).mean() > 0.3


def test_published_names_are_read_whatever_their_case():
    values = ["train", "Training", "VAL", "dev", "valid", "validation", "test", " holdout", None, 3]
    codes = splits.read_published(values, "split")
    assert codes.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, -1, -1]


def test_a_published_column_without_any_split_name_is_refused():
    with pytest.raises(BadInput, match="no row of column 'fold' says train"):
        splits.read_published([1, 2, 3], "fold")


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 0], "the holdout part has no violating rows"),
        ([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 1], "the validation part has no benign rows"),
        ([0, 0, 2, 2, 2, 2], [0, 1, 0, 1, 0, 0], "the validation part has no rows"),
    ],
)
@pytest.mark.parametrize("rule", ["time", "group", "random", "column"])
def test_a_split_that_leaves_a_class_out_is_named_with_its_mend(codes, labels, message, rule):
    with pytest.raises(BadInput, match=message) as caught:
        splits.require_both_classes(np.array(codes), np.array(labels, dtype=np.int8), rule)
    assert caught.value.mend
