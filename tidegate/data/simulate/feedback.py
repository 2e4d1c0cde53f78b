"""What people say about posts: noisy and brigaded reports, few biased labels, appeals."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tidegate.data.simulate.accounts import Accounts, Campaign
from tidegate.data.simulate.behaviour import as_times, draw_popular
from tidegate.data.simulate.world import DAY_US, START_US, Bools, Floats, Ints, World

REASONS = ("insult", "scam", "threat", "other")
_CHATTER, _BANTER, _OFFER, _WARNING, _PROMOTION = range(5)
# Chance that somebody reports a post, by kind: much abuse goes unreported, some teasing does not.
_REPORT_CHANCE = np.array([0.004, 0.05, 0.04, 0.03, 0.04, 0.22, 0.18, 0.26])
_SECOND_REPORT_CHANCE = 0.25
_REASON_OF_KIND = np.array([3, 0, 1, 3, 1, 0, 1, 2])
_RIGHT_REASON_SHARE = 0.7
_BRIGADE_SHARE = 0.5
_REPORT_DELAY_DAYS = 0.3
# Reviewers pull what a model calls uncertain: a bell over its log-odds, seen through noise.
_BOUNDARY_WIDTH, _SCORE_NOISE, _ELSEWHERE = 1.2, 0.7, 0.02
_REPORTED_WEIGHT = 3.0
_ERROR_AT_BOUNDARY = 0.08
_APPEAL_SHARE = {True: 0.05, False: 0.35}
_APPEAL_DELAY_DAYS, _DECISION_DELAY_DAYS = 1.5, 5.0
_APPEAL_ERROR = 0.06


@dataclass(frozen=True)
class Judged:
    """Posts with what the generator knows of them, as the feedback needs it."""

    post_id: Ints
    author: Ints
    posted_us: Ints
    kind: Ints
    violating: Bools
    p_text: Floats
    flagged: Bools


def file_reports(
    world: World,
    accounts: Accounts,
    campaigns: tuple[Campaign, ...],
    posts: Judged,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, Bools]:
    """Return the reports on posts, and which posts an insult ring brigaded."""
    chance = np.minimum(_REPORT_CHANCE[posts.kind] * world.report_rate, 1.0)
    reported = rng.random(len(chance)) < chance
    times = reported * (1 + (rng.random(len(chance)) < _SECOND_REPORT_CHANCE))
    row = np.repeat(np.arange(len(chance)), times)
    there = accounts.created_us <= posts.posted_us.min(initial=np.iinfo(np.int64).max)
    honest = draw_popular(
        accounts, accounts.language[posts.author[row]], there & (accounts.campaign < 0), rng
    )
    right = rng.random(len(row)) < _RIGHT_REASON_SHARE
    reason = np.where(
        right, _REASON_OF_KIND[posts.kind[row]], rng.integers(len(REASONS), size=len(row))
    )
    delay = rng.exponential(_REPORT_DELAY_DAYS, len(row))
    brigaded = np.zeros(len(chance), dtype=np.bool_)
    rows, reporters, reasons, delays = [row], [honest], [reason], [delay]
    day = (posts.posted_us - START_US) // DAY_US
    for campaign in campaigns:
        if campaign.victim is None:
            continue
        hit = np.flatnonzero(
            (posts.author == campaign.victim)
            & (day >= campaign.first_day)
            & (day <= campaign.last_day)
        )
        brigaded[hit] = True
        pairs = np.argwhere(rng.random((len(hit), len(campaign.members))) < _BRIGADE_SHARE)
        rows.append(hit[pairs[:, 0]])
        reporters.append(campaign.members[pairs[:, 1]])
        reasons.append(rng.integers(3, size=len(pairs)))
        delays.append(rng.exponential(0.05, len(pairs)))
    row = np.concatenate(rows)
    at_us = posts.posted_us[row] + (np.concatenate(delays) * DAY_US).astype(np.int64)
    frame = pd.DataFrame(
        {
            "post_id": posts.post_id[row],
            "reporter_id": np.concatenate(reporters),
            "reported_at": as_times(at_us),
            "reason": np.array(REASONS, dtype=object)[np.concatenate(reasons)],
        }
    )
    return frame, brigaded


def investigate(
    world: World, posts: Judged, reported: Bools, rng: np.random.Generator
) -> pd.DataFrame:
    """Return investigators' labels of posts: few near the boundary, fewer at random (`audit`).

    `probability` is the chance with which the row was drawn by its source.
    """
    odds = np.log(np.clip(posts.p_text, 1e-9, 1)) - np.log(np.clip(1 - posts.p_text, 1e-9, 1))
    seen = odds + rng.normal(0, _SCORE_NOISE, len(odds))
    weight = _ELSEWHERE + np.exp(-0.5 * (seen / _BOUNDARY_WIDTH) ** 2)
    weight *= np.where(reported, _REPORTED_WEIGHT, 1.0)
    near = np.minimum(world.label_share * weight / weight.mean(), 1.0)
    audited = rng.random(len(odds)) < world.audit_share
    pulled = (rng.random(len(odds)) < near) & ~audited
    rows = np.flatnonzero(audited | pulled)
    error = world.investigator_error + _ERROR_AT_BOUNDARY * (1 - np.abs(2 * posts.p_text - 1))
    label = posts.violating ^ (rng.random(len(odds)) < error)
    delay_us = (rng.exponential(world.label_delay_days, len(odds)) * DAY_US).astype(np.int64)
    return pd.DataFrame(
        {
            "post_id": posts.post_id[rows],
            "labelled_at": as_times(posts.posted_us[rows] + delay_us[rows]),
            "label": label[rows].astype(np.int8),
            "source": np.where(audited[rows], "audit", "investigator").astype(object),
            "probability": np.where(
                audited[rows], world.audit_share, near[rows] * (1 - world.audit_share)
            ),
        }
    )


def appeal(posts: Judged, rng: np.random.Generator) -> pd.DataFrame:
    """Return the appeals of flagged authors; the innocent appeal more often."""
    chance = np.where(posts.violating, _APPEAL_SHARE[True], _APPEAL_SHARE[False])
    rows = np.flatnonzero((rng.random(len(chance)) < chance) & posts.flagged)
    appealed_us = posts.posted_us[rows] + (
        rng.exponential(_APPEAL_DELAY_DAYS, len(rows)) * DAY_US
    ).astype(np.int64)
    decided_us = appealed_us + (rng.exponential(_DECISION_DELAY_DAYS, len(rows)) * DAY_US).astype(
        np.int64
    )
    upheld = posts.violating[rows] ^ (rng.random(len(rows)) < _APPEAL_ERROR)
    return pd.DataFrame(
        {
            "post_id": posts.post_id[rows],
            "account_id": posts.author[rows],
            "appealed_at": as_times(appealed_us),
            "decided_at": as_times(decided_us),
            "outcome": np.where(upheld, "upheld", "overturned").astype(object),
        }
    )


def split_arrived(
    frame: pd.DataFrame, column: str, end_us: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that have arrived by a time, oldest first, and those still under way."""
    at = frame[column].astype("int64").to_numpy()
    order = np.argsort(at, kind="stable")
    frame, at = frame.iloc[order].reset_index(drop=True), at[order]
    cut = int(np.searchsorted(at, end_us, side="left"))
    return frame.iloc[:cut].reset_index(drop=True), frame.iloc[cut:].reset_index(drop=True)
