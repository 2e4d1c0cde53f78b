"""What can be known of a post: the ceilings, and the platform's own moderator as released."""

from dataclasses import dataclass

import numpy as np

from tidegate.data.simulate import behaviour, kinds
from tidegate.data.simulate.accounts import Accounts, Campaign
from tidegate.data.simulate.kinds import KINDS, ROLES, KindTables
from tidegate.data.simulate.lexicon import DIALECTS, LANGUAGES
from tidegate.data.simulate.texts import MARKER_SHARES, Choices
from tidegate.data.simulate.world import Bools, Floats, Ints, World


def text_likelihood(tables: KindTables, choices: Choices) -> Floats:
    """Return log P(text | kind) up to what is the same for every kind, shape (posts, kinds)."""
    return kinds.log_likelihood(
        tables,
        forms=choices.forms,
        count=choices["count"],
        cue=choices["cue"],
        topic=choices["topic"],
        register=choices["register"],
    )


def chance_from_text(
    world: World, people: Accounts, tables: KindTables, choices: Choices, day: Ints, days: range
) -> Floats:
    """Return P(violating | one text) as the tables know texts and the policy of `day` has it.

    Parameters
    ----------
    day : ndarray of int, shape (posts,)
        The day whose prevalence and policy are assumed.
    days : range
        The days of the posts: who is active then.
    """
    return kinds.posterior_violating(
        text_likelihood(tables, choices),
        _text_prior(world, people, choices, day, days),
        world.promotion_violates(day),
    )


def chance_of_known_author(
    campaigns: tuple[Campaign, ...],
    likelihood: Floats,
    mix: Floats,
    campaign: Ints,
    scripted_kind: Ints,
    forbidden: Bools,
) -> Floats:
    """Return P(violating) for one who also knows the author's role, dialect and campaign.

    Parameters
    ----------
    mix : ndarray, shape (posts, kinds)
        P(kind | author, day).
    campaign : ndarray of int, shape (posts,)
        Campaign of the author, -1 for none.
    scripted_kind : ndarray of int, shape (posts,)
        Kind of a post that follows its campaign's script, -1 for every other post.
    """
    known = mix.copy()
    inside = np.flatnonzero(campaign >= 0)
    own_kind = np.array([plan.kind for plan in campaigns])[campaign[inside]]
    # Who has seen the campaign knows its scripts, so what follows none has another kind.
    known[inside, own_kind] = 0.0
    chance = kinds.posterior_violating(likelihood, known, forbidden)
    return np.where(scripted_kind >= 0, kinds.is_violating(scripted_kind, forbidden), chance)


@dataclass(frozen=True)
class Moderator:
    """The platform's own model: the Bayes rule on texts as they were on the day of its release."""

    tables: KindTables
    day: int
    word_epoch: tuple[int, ...]

    def score(
        self,
        world: World,
        people: Accounts,
        choices: Choices,
        word_epoch: tuple[int, ...],
        days: range,
    ) -> Floats:
        """Return P(violating) as it was learnt then; words coined since say nothing to it."""
        tables = kinds.forget_new_words(self.tables, self.word_epoch, word_epoch)
        then = np.full(len(choices.values), self.day)
        return chance_from_text(world, people, tables, choices, then, days)


def _text_prior(world: World, people: Accounts, choices: Choices, day: Ints, days: range) -> Floats:
    """Return P(kind | language, dialect marker, day) over everybody who posts on `days`."""
    cell = people.role * len(DIALECTS) + people.dialect
    cells = len(ROLES) * len(DIALECTS)
    weight = np.zeros((len(LANGUAGES), cells))
    np.add.at(weight, (people.language, cell), behaviour.expected_actions(people, days))
    role, dialect = np.divmod(np.arange(cells), len(DIALECTS))
    prior = np.empty((len(day), len(KINDS)))
    for today in np.unique(day).tolist():
        mix = kinds.kind_mix(world, role, dialect, np.full(cells, today))
        table = np.einsum("lc,cm,ck->lmk", weight, MARKER_SHARES[dialect], mix)
        table /= np.maximum(table.sum(axis=2, keepdims=True), 1e-12)
        rows = day == today
        prior[rows] = table[choices["language"][rows], choices["marker"][rows]]
    return prior
