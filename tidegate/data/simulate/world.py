"""What a simulated platform is made of: rates, drift times and how its adversary answers."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tidegate.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Day 0 of every platform: a Monday, so that weeks are calendar weeks.
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY_US = 86_400_000_000
START_US = int(START.timestamp()) * 1_000_000
DAYS_PER_WEEK = 7

#: Topics that no post has before a covariate drift brings them in, one a drift.
NOVEL_TOPICS = 3
_MIN_ACCOUNTS = 50


@dataclass(frozen=True)
class Drift:
    """A change of the world at the beginning of a day.

    Parameters
    ----------
    kind : {"covariate", "prior", "concept"}
        ``covariate``: a share `size` of posts, whatever their kind, moves to a topic not seen
        before. ``prior``: every author's share of violating posts is multiplied by `size`.
        ``concept``: undisclosed promotion counts as violating (`size` 1) or no longer (0); the
        posts themselves stay as they were.
    day : int
        First day of the new state.
    size : float
    """

    kind: Literal["covariate", "prior", "concept"]
    day: int
    size: float


@dataclass(frozen=True, kw_only=True)
class World:
    """Parameters of a simulated platform; the defaults make a small one.

    Parameters
    ----------
    accounts, days : int
        How many accounts there are in the end, and how long the platform is watched.
    posts_per_account_day : float
        Mean over all accounts and days.
    violating_scale : float
        Multiplies every author's share of violating posts; 1 gives about one post in nine.
    drifts : tuple of Drift, optional
        Known changes of the world; None for one of each kind, at 30, 50 and 70 % of the days.
    season_amplitude, season_days : float
        The share of violating posts swings by this much, over this many days.
    release_every_days : int
        The platform's own moderator, used when a caller brings none, learns anew so often.
    moderation_threshold : float
        P(violating | text) from which that moderator flags.
    adaptation_rate, adaptation_memory : float
        How strongly violating authors leave a spelling that was flagged (log-odds for always
        flagged, a week), and the share of that aversion that is left a week later.
    coining_weeks : int
        How long newly coined words are used at least before others are coined.
    near_duplicate_change : float
        Chance of each word of a campaign's script to be changed by the account that posts it.
    report_rate : float
        Multiplies the chance that somebody reports a post.
    label_share, audit_share : float
        Share of posts that investigators label near the boundary, and at random (`audit`).
    label_delay_days : float
        Mean delay of a label; reports come sooner, decisions on appeals later.
    investigator_error : float
        Chance of a wrong label on a clear post; higher near the boundary.
    events_per_post : float
        Mean number of other events (logins, views, likes) a post.
    follows_per_account : float
        Mean number of accounts that one follows.
    """

    accounts: int = 4000
    days: int = 90
    posts_per_account_day: float = 0.5
    violating_scale: float = 1.0
    drifts: tuple[Drift, ...] | None = None
    season_amplitude: float = 0.1
    season_days: float = 91.0
    release_every_days: int = 28
    moderation_threshold: float = 0.6
    adaptation_rate: float = 1.0
    adaptation_memory: float = 0.7
    coining_weeks: int = 3
    near_duplicate_change: float = 0.05
    report_rate: float = 1.0
    label_share: float = 0.05
    audit_share: float = 0.04
    label_delay_days: float = 4.0
    investigator_error: float = 0.005
    events_per_post: float = 2.0
    follows_per_account: float = 8.0

    def __post_init__(self) -> None:
        """Refuse a world that cannot be.

        Raises
        ------
        BadInput
            Naming the parameter, its value and what it may be.
        """
        for name, least in (
            ("accounts", _MIN_ACCOUNTS),
            ("days", DAYS_PER_WEEK),
            ("release_every_days", 1),
            ("coining_weeks", 1),
        ):
            if getattr(self, name) < least:
                raise BadInput(
                    name, f"must be at least {least}, got {getattr(self, name)}", f"write {least}"
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise BadInput(field.name, f"must be 0 or more, got {value}", "mend the value")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise BadInput(name, f"is a share, got {getattr(self, name)}", "write 1 or less")
        for name in ("posts_per_account_day", "season_days"):
            if getattr(self, name) == 0:
                raise BadInput(name, "must be above 0, got 0", "write 1")
        _check_drifts(self.schedule, self.days)

    @property
    def schedule(self) -> tuple[Drift, ...]:
        """Every drift of this world in the order of its day."""
        drifts = default_drifts(self.days) if self.drifts is None else self.drifts
        return tuple(sorted(drifts, key=lambda drift: (drift.day, drift.kind)))

    @property
    def weeks(self) -> int:
        """Number of weeks, the last one possibly shorter."""
        return -(-self.days // DAYS_PER_WEEK)

    def violating_multiplier(self, day: Ints) -> Floats:
        """Return how the share of violating posts stands to that of a day without any drift."""
        season = 1 + self.season_amplitude * np.sin(2 * np.pi * day / self.season_days)
        multiplier = self.violating_scale * season
        for drift in self._of_kind("prior"):
            multiplier = np.where(day >= drift.day, multiplier * drift.size, multiplier)
        return np.asarray(multiplier, dtype=np.float64)

    def promotion_violates(self, day: Ints) -> Bools:
        """Return whether the policy of each day forbids undisclosed promotion."""
        forbidden = np.zeros(len(day), dtype=np.bool_)
        for drift in self._of_kind("concept"):
            forbidden = np.where(day >= drift.day, drift.size > 0, forbidden)
        return forbidden

    def novel_topic_shares(self, day: Ints) -> Floats:
        """Return the share of posts on each novel topic, shape (days, `NOVEL_TOPICS`)."""
        shares = np.zeros((len(day), NOVEL_TOPICS))
        for column, drift in enumerate(self._of_kind("covariate")):
            shares[:, column] = np.where(day >= drift.day, drift.size, 0.0)
        return shares

    def last_release(self, day: int) -> int | None:
        """Return the day of the newest release of the platform's own moderator, if any yet."""
        releases = day // self.release_every_days
        return releases * self.release_every_days if releases else None

    def parameters(self) -> dict[str, Any]:
        """Return everything as JSON values, the drifts spelt out."""
        return {**asdict(self), "drifts": [asdict(drift) for drift in self.schedule]}

    def _of_kind(self, kind: str) -> list[Drift]:
        return [drift for drift in self.schedule if drift.kind == kind]


_SHARES: tuple[str, ...] = (
    "moderation_threshold",
    "adaptation_memory",
    "near_duplicate_change",
    "label_share",
    "audit_share",
    "investigator_error",
    "season_amplitude",
)


def default_drifts(days: int) -> tuple[Drift, ...]:
    """Return one drift of each kind: a new topic, fewer violations, a stricter policy."""
    return (
        Drift("covariate", round(0.3 * days), 0.3),
        Drift("prior", round(0.5 * days), 0.6),
        Drift("concept", round(0.7 * days), 1.0),
    )


def _check_drifts(drifts: Sequence[Drift], days: int) -> None:
    novel = [drift for drift in drifts if drift.kind == "covariate"]
    for drift in drifts:
        if not 0 <= drift.day < days:
            raise BadInput(
                "drifts", f"day {drift.day} is not one of the {days} days", f"write 0 to {days - 1}"
            )
        if not (math.isfinite(drift.size) and drift.size >= 0):
            raise BadInput("drifts", f"size must be 0 or more, got {drift.size}", "mend the size")
    if len(novel) > NOVEL_TOPICS or sum(drift.size for drift in novel) > 1:
        raise BadInput(
            "drifts",
            f"{len(novel)} covariate drifts of {sum(d.size for d in novel):g} of the posts",
            f"write at most {NOVEL_TOPICS}, together at most 1",
        )


def stream(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """Return the generator of one purpose in one step, whatever else was drawn before."""
    return np.random.default_rng([seed, step, *purpose.encode()])
