"""A simulated platform that is lived through week by week, answering the moderation it meets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.data.simulate import behaviour, feedback, kinds, oracle, texts
from tidegate.data.simulate.accounts import build_accounts
from tidegate.data.simulate.adversary import Adversary
from tidegate.data.simulate.kinds import KINDS, ROLES, KindTables
from tidegate.data.simulate.lexicon import DIALECTS, LANGUAGES, SURFACES
from tidegate.data.simulate.oracle import Moderator
from tidegate.data.simulate.scripts import follow_scripts
from tidegate.data.simulate.texts import Choices
from tidegate.data.simulate.world import (
    DAY_US,
    DAYS_PER_WEEK,
    START_US,
    Bools,
    Ints,
    World,
    stream,
)

#: From the week's posts to one boolean a post: was it acted on?
Flagged = Callable[[pd.DataFrame], npt.ArrayLike]

PLACES = ("feed", "forum", "listing", "comment")
# Whether a post answers somebody depends on the place alone, so that it gives nothing away.
_REPLY_SHARE = np.array([0.4, 0.3, 0.02, 0.7])


@dataclass(frozen=True)
class Week:
    """One week of the platform, as pandas frames.

    `posts` and `events` happened in the week; `reports`, `labels` and `appeals` arrived in it,
    and may concern posts of earlier weeks. `truth` has one row a post, in the order of `posts`;
    no model may see it.
    """

    number: int
    days: range
    posts: pd.DataFrame
    events: pd.DataFrame
    reports: pd.DataFrame
    labels: pd.DataFrame
    appeals: pd.DataFrame
    truth: pd.DataFrame


class Platform:
    """Accounts that post, weeks that follow one another, and authors who adapt.

    The same world, seed and decisions give the same weeks.

    Parameters
    ----------
    world : World
    seed : int

    Examples
    --------
    >>> platform = Platform(World(accounts=100, days=14), seed=0)
    >>> week = platform.week(0, flagged=lambda posts: posts["text"].str.contains("zorble"))
    >>> len(week.posts) == len(week.truth)
    True
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.people, self.campaigns = build_accounts(world, seed)
        self.adversary = Adversary.naive()
        #: One dictionary a finished week: counts, and how far each family of words hides.
        self.history: list[dict[str, Any]] = []
        self._moderator: Moderator | None = None
        self._next_post_id = 0
        self._pending: dict[str, pd.DataFrame] = {}

    def accounts(self) -> pd.DataFrame:
        """Return what the platform knows of its accounts."""
        people = self.people
        return pd.DataFrame(
            {
                "account_id": np.arange(len(people)),
                "created_at": behaviour.as_times(people.created_us),
                "language": np.array(LANGUAGES, dtype=object)[people.language],
                "dialect": np.array(DIALECTS, dtype=object)[people.dialect],
                "signup_ip": people.address_names[people.addresses[:, 0]],
                "utc_offset_hours": people.utc_offset_hours,
            }
        )

    def account_truth(self) -> pd.DataFrame:
        """Return what accounts really are; campaign -1 is none."""
        return pd.DataFrame(
            {
                "account_id": np.arange(len(self.people)),
                "role": np.array(ROLES, dtype=object)[self.people.role],
                "campaign": self.people.campaign,
            }
        )

    def edges(self) -> pd.DataFrame:
        """Return the graph of who follows whom, with the times."""
        rng = stream(self.seed, "edges")
        return behaviour.build_edges(self.world, self.people, self.campaigns, rng)

    def week(self, number: int, flagged: Flagged | None = None) -> Week:
        """Live through the next week.

        Parameters
        ----------
        number : int
            Its number from 0; weeks come in their order, each once.
        flagged : callable, optional
            Says which posts moderation acts on. Their authors may appeal, and from next week on
            the violating ones avoid what got them flagged. Without it the platform's own
            moderator decides, which learns anew every `World.release_every_days`.

        Raises
        ------
        ValueError
            If `number` is not the next week, or `flagged` does not answer for every post.
        """
        if number != len(self.history) or number >= self.world.weeks:
            raise ValueError(
                f"week {number} does not come next: {len(self.history)} of {self.world.weeks} "
                "weeks are over; weeks are lived once, in their order"
            )
        first = number * DAYS_PER_WEEK
        days = range(first, min(first + DAYS_PER_WEEK, self.world.days))
        people, rng = self.people, stream(self.seed, "posts", number)
        author, posted_us = behaviour.action_times(people, people.rate, days, rng)
        day = (posted_us - START_US) // DAY_US
        tables = kinds.build_tables(self.adversary.word_choice())
        self._release(tables, first)

        mix = kinds.kind_mix(self.world, people.role[author], people.dialect[author], day)
        kind = kinds.draw_rows(mix, rng)
        choices = texts.draw_choices(
            kind,
            people.language[author],
            people.dialect[author],
            self.world.novel_topic_shares(day),
            tables,
            rng,
        )
        choices, scripted = follow_scripts(
            self.world, people, self.campaigns, choices, author, kind, tables, self.seed, rng
        )
        forbidden = self.world.promotion_violates(day)
        violating = kinds.is_violating(kind, forbidden)
        p_text = oracle.chance_from_text(self.world, people, tables, choices, day, days)
        p_all = oracle.chance_of_known_author(
            self.campaigns,
            oracle.text_likelihood(tables, choices),
            mix,
            people.campaign[author],
            np.where(scripted, kind, -1),
            forbidden,
        )
        post_id = self._next_post_id + np.arange(len(author))
        posts = self._post_table(post_id, author, posted_us, choices, rng)
        decided = self._decide(flagged, posts, choices, days)
        judged = feedback.Judged(post_id, author, posted_us, kind, violating, p_text, decided)
        events = behaviour.build_events(
            people,
            (author, posted_us, post_id),
            days,
            self.world.events_per_post,
            stream(self.seed, "events", number),
        )
        heard, brigaded = self._hear(judged, number, days)
        truth = pd.DataFrame(
            {
                "post_id": post_id,
                "violating": violating.astype(np.int8),
                "kind": np.array(KINDS, dtype=object)[kind],
                "role": np.array(ROLES, dtype=object)[people.role[author]],
                "campaign": people.campaign[author],
                "scripted": scripted,
                "hidden_words": _hidden_words(choices),
                "flagged": decided,
                "brigaded": brigaded,
                "p_text": p_text,
                "p_all": p_all,
            }
        )
        self._next_post_id += len(author)
        self._remember(number, truth)
        self.adversary = self.adversary.after(
            choices.forms,
            choices["count"],
            kind,
            decided,
            rate=self.world.adaptation_rate,
            memory=self.world.adaptation_memory,
            coining_weeks=self.world.coining_weeks,
        )
        return Week(
            number, days, posts, events, heard["reports"], heard["labels"], heard["appeals"], truth
        )

    def _release(self, tables: KindTables, day: int) -> None:
        due = self.world.last_release(day)
        if due is not None and (self._moderator is None or self._moderator.day < due):
            self._moderator = Moderator(tables, day, self.adversary.epoch)

    def _decide(
        self, flagged: Flagged | None, posts: pd.DataFrame, choices: Choices, days: range
    ) -> Bools:
        if flagged is not None:
            answers = np.asarray(flagged(posts))
            if answers.shape != (len(posts),):
                raise ValueError(
                    f"flagged gave {answers.shape} answers for {len(posts)} posts; "
                    "return one boolean a post"
                )
            return answers.astype(np.bool_)
        if self._moderator is None:
            return np.zeros(len(posts), dtype=np.bool_)
        score = self._moderator.score(self.world, self.people, choices, self.adversary.epoch, days)
        return np.asarray(score >= self.world.moderation_threshold)

    def _post_table(
        self,
        post_id: Ints,
        author: Ints,
        posted_us: Ints,
        choices: Choices,
        rng: np.random.Generator,
    ) -> pd.DataFrame:
        people, place = self.people, choices["register"]
        known = people.created_us <= posted_us.min(initial=np.iinfo(np.int64).max)
        target = behaviour.draw_popular(people, people.language[author], known, rng)
        victim = np.array([-1 if c.victim is None else c.victim for c in self.campaigns])
        hunted = np.where(people.campaign[author] >= 0, victim[people.campaign[author]], -1)
        target = np.where(hunted >= 0, hunted, target)
        replies = (rng.random(len(author)) < _REPLY_SHARE[place]) & (target != author)
        age_days = (posted_us - people.created_us[author]) / DAY_US
        return pd.DataFrame(
            {
                "post_id": post_id,
                "account_id": author,
                "created_at": behaviour.as_times(posted_us),
                "text": texts.render(choices, self.adversary.epoch),
                "language": np.array(LANGUAGES, dtype=object)[choices["language"]],
                "dialect": np.array(DIALECTS, dtype=object)[people.dialect[author]],
                "place": np.array(PLACES, dtype=object)[place],
                "reply_to_account_id": pd.Series(target, dtype="Int64").mask(~replies),
                "account_age_days": np.round(age_days, 2),
            }
        )

    def _hear(
        self, judged: feedback.Judged, number: int, days: range
    ) -> tuple[dict[str, pd.DataFrame], Bools]:
        """Return what arrives this week of reports, labels and appeals, and who was brigaded."""
        rng = stream(self.seed, "feedback", number)
        reports, brigaded = feedback.file_reports(
            self.world, self.people, self.campaigns, judged, rng
        )
        reported = np.isin(judged.post_id, reports["post_id"].to_numpy())
        filed = {
            "reports": (reports, "reported_at"),
            "labels": (feedback.investigate(self.world, judged, reported, rng), "labelled_at"),
            "appeals": (feedback.appeal(judged, rng), "decided_at"),
        }
        end_us = START_US + days.stop * DAY_US
        heard = {}
        for name, (frame, column) in filed.items():
            waiting = self._pending.get(name)
            both = frame if waiting is None else pd.concat([waiting, frame], ignore_index=True)
            heard[name], self._pending[name] = feedback.split_arrived(both, column, end_us)
        return heard, brigaded

    def _remember(self, number: int, truth: pd.DataFrame) -> None:
        self.history.append(
            {
                "week": number,
                "posts": len(truth),
                "violating": int(truth["violating"].sum()),
                "flagged": int(truth["flagged"].sum()),
                "hidden_words": self.adversary.hidden_shares(),
                "coined_epochs": list(self.adversary.epoch),
            }
        )


def _hidden_words(choices: Choices) -> Bools:
    """Return whether a post has a telling word that is not spelt plainly."""
    hidden = np.zeros(len(choices.values), dtype=np.bool_)
    for place in range(kinds.MAX_FORMS_PER_POST):
        surface = kinds.form_parts(choices.forms[:, place])[2]
        hidden |= (choices["count"] > place) & (surface != SURFACES.index("plain"))
    return hidden
