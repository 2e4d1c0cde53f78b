"""What an engine of drift tests can do, whoever wrote the tests."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Found(NamedTuple):
    """A test's p-value and its own distance between the two sides."""

    p_value: float
    distance: float


class Engine(Protocol):
    """Two-sample tests; the rows of a side are independent draws from one population.

    Those of single columns may be approximate, for an alarm is made sure of before it is raised;
    the others are at most as small under no change as they say: P(p <= level) <= level.
    """

    name: str

    def continuous(self, before: Values, after: Values) -> list[Found]:
        """Test each column of two matrices, shape (rows, columns), alone."""

    def categorical(self, before: Counts, after: Counts) -> Found:
        """Test the counts of the same categories."""

    def kernel(self, before: Values, after: Values, *, level: float) -> Found:
        """Test all columns together; a p-value above `level` need not be exact."""

    def classifier(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Test whether a classifier tells the sides apart, and by which columns."""

    def spot_the_diff(self, before: Values, after: Values, *, level: float) -> tuple[Found, Values]:
        """Test by nearness to a learned place that one side has more of, and say which columns."""

    def outlyingness(self, norm: Values, rows: Values) -> Values:
        """Return how far out each of some rows is, by what the norm's rows are like."""
