"""When accounts act, people by their days and bots by their schedule, and whom they follow."""

import numpy as np
import pandas as pd

from tidegate.data.simulate.accounts import (
    BRAND,
    SPAM_BOT,
    Accounts,
    Campaign,
    pick_addresses,
)
from tidegate.data.simulate.world import (
    DAY_US,
    DAYS_PER_WEEK,
    START_US,
    Bools,
    Floats,
    Ints,
    World,
)

_HOUR_US = DAY_US // 24
# Share of a person's posts by local hour: quiet at four, busy at noon and most at nine.
_BY_HOUR = np.array(
    [9, 5, 3, 2, 1, 2, 4, 10, 18, 24, 26, 28, 33, 30, 26, 25, 27, 31, 36, 42, 48, 50, 36, 19],
    dtype=np.float64,
)
_BY_WEEKDAY = np.array([1.0, 1.0, 1.0, 1.0, 1.05, 1.25, 1.2])
_BOT_JITTER_US = 8_000_000
ACTIONS = ("post", "login", "view", "like")
_ACTION_SHARES = np.array([0.18, 0.60, 0.22])
_SAME_LANGUAGE_SHARE = 0.9
_RING_FOLLOWS_SHARE = 0.4


def action_times(
    accounts: Accounts, rates: Floats, days: range, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Draw who acts when on some days of one week.

    Parameters
    ----------
    rates : ndarray, shape (accounts,)
        Mean actions a day.
    days : range
        Days since the start of the platform.

    Returns
    -------
    tuple of ndarray of int
        Account numbers and times (microseconds since 1970), in the order of time.
    """
    who = np.repeat(np.arange(len(accounts)), rng.poisson(rates * len(days)))
    weekday = np.array([day % DAYS_PER_WEEK for day in days])
    weights = np.cumsum(_BY_WEEKDAY[weekday])
    day = np.searchsorted(weights / weights[-1], rng.random(len(who)), side="right")
    hour = np.cumsum(_BY_HOUR)
    uniform = rng.random(len(who))
    local = np.searchsorted(hour / hour[-1], uniform, side="right") + rng.random(len(who))
    clock = (local + accounts.chronotype_hours[who] - accounts.utc_offset_hours[who]) % 24
    start_us = START_US + days.start * DAY_US
    human_us = start_us + day * DAY_US + (clock * _HOUR_US).astype(np.int64)

    period, phase = accounts.period_us[who], accounts.phase_us[who]
    slots = len(days) * DAY_US // period
    turn = (rng.random(len(who)) * slots).astype(np.int64)
    jitter = (rng.random(len(who)) * _BOT_JITTER_US).astype(np.int64)
    # The phase counts from midnight and every period divides the day.
    bot_us = start_us + turn * period + phase % period + jitter
    time_us = np.where(accounts.is_bot[who], bot_us, human_us)
    time_us = np.minimum(time_us, start_us + len(days) * DAY_US - 1)
    there = (time_us >= accounts.active_from_us[who]) & (time_us < accounts.active_to_us[who])
    who, time_us = who[there], time_us[there]
    order = np.argsort(time_us, kind="stable")
    return who[order], time_us[order]


def expected_actions(accounts: Accounts, days: range) -> Floats:
    """Return the posts that each account is expected to write on some days."""
    start_us = START_US + days.start * DAY_US
    end_us = start_us + len(days) * DAY_US
    active_us = np.clip(accounts.active_to_us, start_us, end_us) - np.clip(
        accounts.active_from_us, start_us, end_us
    )
    return np.asarray(accounts.rate * active_us / DAY_US)


def build_events(
    accounts: Accounts,
    posts: tuple[Ints, Ints, Ints],
    days: range,
    events_per_post: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the week's event log: every post, and logins, views and likes around them.

    Parameters
    ----------
    posts : tuple of ndarray of int
        Account, time in microseconds and id of each post.
    """
    author, posted_us, post_id = posts
    who, time_us = action_times(accounts, accounts.rate * events_per_post, days, rng)
    action = 1 + np.searchsorted(np.cumsum(_ACTION_SHARES)[:-1], rng.random(len(who)), side="right")
    who = np.concatenate([author, who])
    time_us = np.concatenate([posted_us, time_us])
    action = np.concatenate([np.zeros(len(author), dtype=np.int64), action])
    post = np.concatenate([post_id, np.full(len(who) - len(author), -1)])
    order = np.argsort(time_us, kind="stable")
    who, time_us, action, post = who[order], time_us[order], action[order], post[order]
    names = np.array(ACTIONS, dtype=object)
    return pd.DataFrame(
        {
            "account_id": who,
            "at": as_times(time_us),
            "action": names[action],
            "ip": accounts.address_names[pick_addresses(accounts, who, rng)],
            "post_id": pd.array(np.where(post < 0, 0, post), dtype="Int64").copy(),
        }
    ).assign(post_id=lambda frame: frame["post_id"].mask(post < 0))


def as_times(time_us: Ints) -> "pd.Series[pd.Timestamp]":
    """Return UTC times of microseconds since 1970."""
    return pd.Series(time_us.astype("datetime64[us]")).dt.tz_localize("UTC")


def draw_popular(
    accounts: Accounts, language: Ints, among: Bools, rng: np.random.Generator
) -> Ints:
    """Draw one account a row, popular ones more often, mostly of the given language."""
    drawn = np.zeros(len(language), dtype=np.int64)
    other = rng.random(len(language)) >= _SAME_LANGUAGE_SHARE
    wanted = np.where(other, 1 - language, language)
    uniform = rng.random(len(language))
    for spoken in range(int(accounts.language.max()) + 1):
        rows = wanted == spoken
        pool = np.flatnonzero(among & (accounts.language == spoken))
        if not len(pool):
            pool = np.flatnonzero(among)
        weights = np.cumsum(accounts.popularity[pool])
        at = np.searchsorted(weights / weights[-1], uniform[rows], side="right")
        drawn[rows] = pool[np.minimum(at, len(pool) - 1)]
    return drawn


def build_edges(
    world: World, accounts: Accounts, campaigns: tuple[Campaign, ...], rng: np.random.Generator
) -> pd.DataFrame:
    """Return who follows whom since when: popular accounts, one's own language, one's own ring."""
    eagerness = rng.lognormal(-0.5, 1.0, len(accounts))
    eagerness *= np.where(accounts.role == SPAM_BOT, 4.0, 1.0)
    eagerness *= world.follows_per_account / eagerness.mean()
    source = np.repeat(np.arange(len(accounts)), rng.poisson(eagerness))
    target = draw_popular(
        accounts, accounts.language[source], np.ones(len(accounts), dtype=np.bool_), rng
    )
    sources, targets = [source], [target]
    for campaign in campaigns:
        size = len(campaign.members)
        share = 0.1 if campaign.role == BRAND else _RING_FOLLOWS_SHARE
        pairs = np.argwhere(rng.random((size, size)) < share)
        sources.append(campaign.members[pairs[:, 0]])
        targets.append(campaign.members[pairs[:, 1]])
    source, target = np.concatenate(sources), np.concatenate(targets)
    pairs = np.unique(np.stack([source, target], axis=1)[source != target], axis=0)
    source, target = pairs[:, 0], pairs[:, 1]
    both_us = np.maximum(accounts.created_us[source], accounts.created_us[target])
    delay_us = (rng.exponential(30.0, len(source)) * DAY_US).astype(np.int64)
    time_us = both_us + delay_us
    before_end = time_us < START_US + world.days * DAY_US
    return pd.DataFrame(
        {
            "source_id": source[before_end],
            "target_id": target[before_end],
            "kind": "follows",
            "created_at": as_times(time_us[before_end]),
        }
    )
