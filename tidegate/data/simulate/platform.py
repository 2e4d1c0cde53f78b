"""A simulated platform that is lived through week by week, answering the moderation it meets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tidegate.data.simulate import behaviour, feedback, kinds, texts
from tidegate.data.simulate.accounts import SCRIPTS_PER_CAMPAIGN, Campaign, build_accounts
from tidegate.data.simulate.adversary import Adversary
from tidegate.data.simulate.kinds import KINDS, ROLES, KindTables
from tidegate.data.simulate.lexicon import DIALECTS, LANGUAGES, SURFACES
from tidegate.data.simulate.texts import COLUMN, MARKER_SHARES, MUTABLE, Choices
from tidegate.data.simulate.world import (
    DAY_US,
    DAYS_PER_WEEK,
    START_US,
    Bools,
    Floats,
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


@dataclass(frozen=True)
class _Moderator:
    """The platform's own model: the Bayes rule on the text as it was on the day of its release."""

    tables: KindTables
    day: int
    word_epoch: tuple[int, ...]

    def read(self, epoch: tuple[int, ...]) -> KindTables:
        """Return its tables for posts of a later epoch, whose new words it has never seen."""
        return kinds.forget_new_words(self.tables, self.word_epoch, epoch)


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
        self._moderator: _Moderator | None = None
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
        choices, scripted = self._follow_scripts(choices, author, kind, number, tables, rng)
        forbidden = self.world.promotion_violates(day)
        violating = kinds.is_violating(kind, forbidden)
        likelihood = _likelihood(tables, choices)
        p_text = kinds.posterior_violating(
            likelihood, self._text_prior(choices, day, days), forbidden
        )
        p_all = self._oracle(likelihood, mix, author, kind, scripted, forbidden)
        post_id = self._next_post_id + np.arange(len(author))
        self._next_post_id += len(author)
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
        self._remember(number, truth)
        self.adversary = self.adversary.after(
            choices.forms,
            choices["count"],
            kind,
            decided,
            rate=self.world.adaptation_rate,
            memory=self.world.adaptation_memory,
        )
        return Week(
            number, days, posts, events, heard["reports"], heard["labels"], heard["appeals"], truth
        )

    def _release(self, tables: KindTables, day: int) -> None:
        due = self.world.last_release(day)
        if due is not None and (self._moderator is None or self._moderator.day < due):
            self._moderator = _Moderator(tables, day, self.adversary.epoch)

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
        then = np.full(len(posts), self._moderator.day)
        score = kinds.posterior_violating(
            _likelihood(self._moderator.read(self.adversary.epoch), choices),
            self._text_prior(choices, then, days),
            self.world.promotion_violates(then),
        )
        return np.asarray(score >= self.world.moderation_threshold)

    def _follow_scripts(
        self,
        choices: Choices,
        author: Ints,
        kind: Ints,
        week: int,
        tables: KindTables,
        rng: np.random.Generator,
    ) -> tuple[Choices, Bools]:
        """Let the members of campaigns post their scripts, each with small changes of their own."""
        values = choices.values.copy()
        campaign = self.people.campaign[author]
        scripted = np.zeros(len(author), dtype=np.bool_)
        for number in np.unique(campaign[campaign >= 0]).tolist():
            plan: Campaign = self.campaigns[number]
            rows = np.flatnonzero((campaign == number) & (kind == plan.kind))
            if not len(rows):
                continue
            member = np.full(SCRIPTS_PER_CAMPAIGN, plan.members[0])
            # The same draws every week: a script changes only where its words became too hot.
            script = texts.draw_choices(
                np.full(SCRIPTS_PER_CAMPAIGN, plan.kind),
                self.people.language[member],
                self.people.dialect[member],
                self.world.novel_topic_shares(np.full(SCRIPTS_PER_CAMPAIGN, plan.first_day)),
                tables,
                stream(self.seed, "scripts", number),
            ).values
            # A script without a telling phrase would be no campaign.
            script[:, COLUMN["count"]] = np.maximum(script[:, COLUMN["count"]], 1)
            copied = script[rng.integers(SCRIPTS_PER_CAMPAIGN, size=len(rows))]
            changed = np.zeros(copied.shape, dtype=np.bool_)
            changed[:, MUTABLE] = (
                rng.random((len(rows), len(MUTABLE))) < self.world.near_duplicate_change
            )
            values[rows] = np.where(changed, values[rows], copied)
            scripted[rows] = True
        return Choices(values), scripted

    def _text_prior(self, choices: Choices, day: Ints, days: range) -> Floats:
        """Return P(kind | language, dialect marker, day) over everybody who posts this week."""
        people = self.people
        busy = behaviour.expected_actions(people, days)
        cell = people.role * len(DIALECTS) + people.dialect
        cells = len(ROLES) * len(DIALECTS)
        weight = np.zeros((len(LANGUAGES), cells))
        np.add.at(weight, (people.language, cell), busy)
        role, dialect = np.divmod(np.arange(cells), len(DIALECTS))
        prior = np.empty((len(day), len(KINDS)))
        for today in np.unique(day).tolist():
            mix = kinds.kind_mix(self.world, role, dialect, np.full(cells, today))
            table = np.einsum("lc,cm,ck->lmk", weight, MARKER_SHARES[dialect], mix)
            table /= np.maximum(table.sum(axis=2, keepdims=True), 1e-12)
            rows = day == today
            prior[rows] = table[choices["language"][rows], choices["marker"][rows]]
        return prior

    def _oracle(
        self,
        likelihood: Floats,
        mix: Floats,
        author: Ints,
        kind: Ints,
        scripted: Bools,
        forbidden: Bools,
    ) -> Floats:
        """Return P(violating) for one who knows the author's role, dialect and campaign."""
        known = mix.copy()
        inside = np.flatnonzero(self.people.campaign[author] >= 0)
        script_kind = np.array([c.kind for c in self.campaigns])[
            self.people.campaign[author[inside]]
        ]
        # Who has seen the campaign knows its scripts, so what is none has another kind.
        known[inside, script_kind] = 0.0
        chance = kinds.posterior_violating(likelihood, known, forbidden)
        return np.where(scripted, kinds.is_violating(kind, forbidden), chance)

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


def _likelihood(tables: KindTables, choices: Choices) -> Floats:
    return kinds.log_likelihood(
        tables,
        forms=choices.forms,
        count=choices["count"],
        cue=choices["cue"],
        topic=choices["topic"],
        register=choices["register"],
    )


def _hidden_words(choices: Choices) -> Bools:
    """Return whether a post has a telling word that is not spelt plainly."""
    hidden = np.zeros(len(choices.values), dtype=np.bool_)
    for place in range(kinds.MAX_FORMS_PER_POST):
        surface = kinds.form_parts(choices.values[:, COLUMN["form_1"] + place])[2]
        hidden |= (choices["count"] > place) & (surface != SURFACES.index("plain"))
    return hidden
