"""Near-duplicates: the members of a campaign post a few scripts, each with changes of its own."""

import numpy as np

from tidegate.data.simulate import texts
from tidegate.data.simulate.accounts import Accounts, Campaign
from tidegate.data.simulate.kinds import KindTables
from tidegate.data.simulate.texts import COLUMN, MUTABLE, Choices
from tidegate.data.simulate.world import Bools, Ints, World, stream

SCRIPTS_PER_CAMPAIGN = 3


def follow_scripts(
    world: World,
    people: Accounts,
    campaigns: tuple[Campaign, ...],
    choices: Choices,
    author: Ints,
    kind: Ints,
    tables: KindTables,
    seed: int,
    rng: np.random.Generator,
) -> tuple[Choices, Bools]:
    """Replace the campaigns' posts by copies of their scripts.

    A member's posts of another kind than the campaign's stay its own: they are its disguise.

    Returns
    -------
    tuple
        The choices, and which posts follow a script.
    """
    values = choices.values.copy()
    campaign = people.campaign[author]
    scripted = np.zeros(len(author), dtype=np.bool_)
    for number in np.unique(campaign[campaign >= 0]).tolist():
        plan = campaigns[number]
        rows = np.flatnonzero((campaign == number) & (kind == plan.kind))
        if not len(rows):
            continue
        script = _scripts(world, people, plan, tables, seed)
        copied = script[rng.integers(SCRIPTS_PER_CAMPAIGN, size=len(rows))]
        changed = np.zeros(copied.shape, dtype=np.bool_)
        changed[:, MUTABLE] = rng.random((len(rows), len(MUTABLE))) < world.near_duplicate_change
        values[rows] = np.where(changed, values[rows], copied)
        scripted[rows] = True
    return Choices(values), scripted


def _scripts(world: World, people: Accounts, plan: Campaign, tables: KindTables, seed: int) -> Ints:
    """Return a campaign's scripts as choices, shape (`SCRIPTS_PER_CAMPAIGN`, choices).

    The draws are the same every week, so a script changes only where its words became too hot.
    """
    member = np.full(SCRIPTS_PER_CAMPAIGN, plan.members[0])
    script = texts.draw_choices(
        np.full(SCRIPTS_PER_CAMPAIGN, plan.kind),
        people.language[member],
        people.dialect[member],
        world.novel_topic_shares(np.full(SCRIPTS_PER_CAMPAIGN, plan.first_day)),
        tables,
        stream(seed, "scripts", plan.number),
    ).values
    # A script without a telling phrase would be no campaign.
    script[:, COLUMN["count"]] = np.maximum(script[:, COLUMN["count"]], 1)
    return script
