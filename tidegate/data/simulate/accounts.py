"""Accounts and campaigns: who is there, since when, from which addresses, how busily."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tidegate.data.simulate.kinds import KINDS, ROLES
from tidegate.data.simulate.lexicon import DIALECTS
from tidegate.data.simulate.world import DAY_US, START_US, Floats, Ints, World, stream

REGULAR, PROVOCATEUR, SPAM_BOT, SERVICE_BOT, BRAND, SCAM_RING, INSULT_RING = range(len(ROLES))
BOTS = (SPAM_BOT, SERVICE_BOT)

_ROLE_SHARES = {PROVOCATEUR: 0.05, SPAM_BOT: 0.015, SERVICE_BOT: 0.015}
# Accounts of campaigns are used for days only, so a longer world has more of them.
_CAMPAIGN_SHARE_PER_90_DAYS = {BRAND: 0.02, SCAM_RING: 0.025, INSULT_RING: 0.02}
_MAX_CAMPAIGN_SHARE = 0.1
# Posts a day of an active account, relative to a regular one.
_RATE = np.array([1.0, 1.6, 2.5, 3.0, 6.0, 7.0, 7.0])
_CAMPAIGN_KIND = {BRAND: "offer", SCAM_RING: "scam", INSULT_RING: "insult"}
_SPANISH_SHARE = 0.3
_DIALECT_SHARES = np.array([0.5, 0.3, 0.2])
_NEWCOMER_SHARE = 0.15
_MEAN_AGE_DAYS = 500.0
_BOT_PERIODS_MINUTES = np.array([15, 20, 30, 60])
_ADDRESSES_PER_ACCOUNT = 3


@dataclass(frozen=True)
class Campaign:
    """Accounts that were registered together and post the same few scripts.

    Parameters
    ----------
    number : int
    role : int
        Index of `ROLES`: a brand's campaign is allowed, a ring's is not.
    kind : int
        Index of `KINDS` of its scripted posts.
    members : ndarray of int
        Accounts, by number.
    first_day, last_day : int
        Days of activity, the last one included.
    victim : int or None
        The account that an insult ring replies to and reports.
    """

    number: int
    role: int
    kind: int
    members: Ints
    first_day: int
    last_day: int
    victim: int | None


@dataclass(frozen=True)
class Accounts:
    """All accounts of a platform, one array an attribute, by account number.

    `rate` is in posts a day between `active_from_us` and `active_to_us`; `addresses` has the three
    addresses of an account, most used first, as indices of `address_names`. Times are
    microseconds since 1970, UTC.
    """

    created_us: Ints
    active_from_us: Ints
    active_to_us: Ints
    language: Ints
    dialect: Ints
    role: Ints
    campaign: Ints
    rate: Floats
    utc_offset_hours: Ints
    chronotype_hours: Floats
    period_us: Ints
    phase_us: Ints
    popularity: Floats
    addresses: Ints
    address_names: npt.NDArray[np.object_]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.role)

    @property
    def is_bot(self) -> npt.NDArray[np.bool_]:
        """Whether each posts by schedule."""
        return np.isin(self.role, BOTS)


def build_accounts(world: World, seed: int) -> tuple[Accounts, tuple[Campaign, ...]]:
    """Draw the accounts and campaigns of a platform."""
    rng = stream(seed, "accounts")
    count, end_us = world.accounts, START_US + world.days * DAY_US
    role = rng.choice(
        len(_ROLE_SHARES) + 1,
        p=[1 - sum(_ROLE_SHARES.values()), *_ROLE_SHARES.values()],
        size=count,
    )
    role = np.array([REGULAR, *_ROLE_SHARES])[role]
    campaign = _assign_campaigns(world, role, rng)
    newcomer = rng.random(count) < _NEWCOMER_SHARE
    age_us = (rng.exponential(_MEAN_AGE_DAYS, count) * DAY_US).astype(np.int64)
    joined_us = (rng.random(count) * world.days * DAY_US).astype(np.int64)
    created_us = START_US + np.where(newcomer, joined_us, -age_us)
    language = (rng.random(count) < _SPANISH_SHARE).astype(np.int64)
    active_to_us = np.full(count, end_us)
    active_from_us = created_us.copy()
    addresses, names = _draw_addresses(role, campaign, rng)
    rate = _RATE[role] * rng.lognormal(-0.5, 1.0, count)
    campaigns = []
    for number in range(int(campaign.max()) + 1):
        members = np.flatnonzero(campaign == number)
        found = _plan_campaign(world, number, members, role, rng)
        campaigns.append(found)
        # A ring registers within hours and waits; a brand brings its people in over some days.
        wait_days, burst_hours = (1.0, 72.0) if found.role == BRAND else (rng.uniform(2, 10), 3.0)
        begin_us = START_US + found.first_day * DAY_US
        offset = rng.random(len(members)) * burst_hours * DAY_US / 24
        created_us[members] = (begin_us - wait_days * DAY_US - offset).astype(np.int64)
        active_from_us[members] = begin_us
        active_to_us[members] = min(START_US + (found.last_day + 1) * DAY_US, end_us)
        language[members] = language[members[0]]
        rate[members] = _RATE[found.role] * rng.uniform(0.7, 1.3, len(members))
    is_bot = np.isin(role, BOTS)
    period_us = rng.choice(_BOT_PERIODS_MINUTES, count) * 60_000_000
    active_days = (
        np.clip(active_to_us, START_US, end_us) - np.clip(active_from_us, START_US, end_us)
    ) / DAY_US
    rate *= world.posts_per_account_day * count * world.days / float((rate * active_days).sum())
    accounts = Accounts(
        created_us=created_us,
        active_from_us=active_from_us,
        active_to_us=active_to_us,
        language=language,
        dialect=rng.choice(len(DIALECTS), p=_DIALECT_SHARES, size=count),
        role=role,
        campaign=campaign,
        rate=rate,
        utc_offset_hours=np.where(
            language == 0, rng.integers(-5, 1, count), rng.integers(-4, 2, count)
        ),
        chronotype_hours=rng.normal(0, 1.2, count),
        period_us=period_us,
        phase_us=(rng.random(count) * period_us).astype(np.int64),
        popularity=np.where(is_bot, 0.2, 1.0) * rng.lognormal(0, 1.2, count),
        addresses=addresses,
        address_names=names,
    )
    return accounts, tuple(campaigns)


def _assign_campaigns(world: World, role: Ints, rng: np.random.Generator) -> Ints:
    """Turn some regular accounts into members of campaigns; changes `role`."""
    campaign = np.full(world.accounts, -1, dtype=np.int64)
    free = rng.permutation(np.flatnonzero(role == REGULAR))
    number = 0
    for kind, share in _CAMPAIGN_SHARE_PER_90_DAYS.items():
        wanted = min(share * max(world.days / 90, 0.3), _MAX_CAMPAIGN_SHARE) * world.accounts
        left = max(round(wanted), 4)
        while left > 0:
            size = min(int(rng.integers(6, 25)), max(left, 4))
            members, free = free[:size], free[size:]
            role[members], campaign[members] = kind, number
            number, left = number + 1, left - size
    return campaign


def _plan_campaign(
    world: World, number: int, members: Ints, role: Ints, rng: np.random.Generator
) -> Campaign:
    kind = int(role[members[0]])
    length = int(rng.integers(4, 18))
    first = int(rng.integers(0, max(world.days - 3, 1)))
    victims = np.flatnonzero(role == REGULAR)
    return Campaign(
        number=number,
        role=kind,
        kind=KINDS.index(_CAMPAIGN_KIND[kind]),
        members=members,
        first_day=first,
        last_day=min(first + length, world.days - 1),
        victim=int(rng.choice(victims)) if kind == INSULT_RING else None,
    )


def _draw_addresses(
    role: Ints, campaign: Ints, rng: np.random.Generator
) -> tuple[Ints, npt.NDArray[np.object_]]:
    """Draw three addresses an account: households, carriers and offices share theirs honestly."""
    count = len(role)
    pools = {
        "home": max(int(count * 0.8), 1),
        "carrier": max(count // 40, 1),
        "office": max(count // 10, 1),
        "datacentre": max(count // 100, 2),
        "campaign": 3 * (int(campaign.max()) + 1),
    }
    start, base = {}, 0
    for name, size in pools.items():
        start[name], base = base, base + size
    addresses = np.stack(
        [
            start[name] + rng.integers(pools[name], size=count)
            for name in ("home", "carrier", "office")
        ],
        axis=1,
    )
    bots = np.isin(role, BOTS)
    centre = start["datacentre"] + rng.integers(pools["datacentre"], size=count)
    addresses[bots] = centre[bots, None]
    for place in (0, 2):
        own = start["campaign"] + 3 * campaign + rng.integers(3, size=count)
        addresses[campaign >= 0, place] = own[campaign >= 0]
    value = rng.permutation(max(base * 4, 1 << 16))[:base]
    names = np.empty(base, dtype=object)
    names[:] = [f"10.{v >> 16 & 255}.{v >> 8 & 255}.{v & 255}" for v in value.tolist()]
    return addresses, names


def pick_addresses(accounts: Accounts, who: Ints, rng: np.random.Generator) -> Ints:
    """Draw the address that each action of account `who` comes from."""
    place = np.searchsorted([0.7, 0.9], rng.random(len(who)), side="right")
    picked: Ints = accounts.addresses[who, place]
    return picked
