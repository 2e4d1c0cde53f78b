"""A synthetic platform whose truth is known: accounts, posts, campaigns, reports, labels, drift.

`simulate` writes one to disk; `Platform` is lived through week by week by a program that decides
what to flag, and its authors adapt. ``docs/simulator.md`` has the statistics and the ceilings.
"""

from tidegate.data.simulate.platform import Platform, Week
from tidegate.data.simulate.tables import ceilings, simulate, training_labels
from tidegate.data.simulate.world import Drift, World

__all__ = ["Drift", "Platform", "Week", "World", "ceilings", "simulate", "training_labels"]
