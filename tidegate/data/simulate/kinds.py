"""Which kinds of post there are, who writes them, and what each shows: the generator's own model.

A post's text is a few discrete choices that are independent given its kind, so that the chance of
each kind given the text is a product of table entries (`log_likelihood`): the Bayes ceiling.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tidegate.data.simulate.lexicon import CONCEPTS, FAMILIES, SURFACES, TEMPLATES
from tidegate.data.simulate.world import NOVEL_TOPICS, Bools, Floats, Ints, World

KINDS = ("chatter", "banter", "offer", "warning", "promotion", "insult", "scam", "threat")
PROMOTION = KINDS.index("promotion")
#: Kinds whose words are chosen by authors who would rather not be flagged, with their family.
ADVERSARIAL = {"insult": 0, "scam": 1, "threat": 2, "promotion": 3}

#: What an account is; a ring is a campaign that violates, a brand a campaign that does not.
ROLES = ("regular", "provocateur", "spam_bot", "service_bot", "brand", "scam_ring", "insult_ring")

# Spelling last: when authors hide their words, the same draw keeps the phrase and the word.
_FORM_SHAPE = (len(FAMILIES), TEMPLATES, CONCEPTS, len(SURFACES))
FORMS = math.prod(_FORM_SHAPE)
MAX_FORMS_PER_POST = 3

# Of a role's posts, the share that violates, and the mix of kinds in either part.
_VIOLATING_SHARE = (0.055, 0.32, 0.65, 0.01, 0.03, 0.75, 0.75)
_BENIGN_MIX = (  # chatter, banter, offer, warning, promotion
    (0.867, 0.060, 0.035, 0.025, 0.013),
    (0.740, 0.190, 0.010, 0.040, 0.020),
    (0.600, 0.010, 0.250, 0.010, 0.130),
    (0.650, 0.000, 0.250, 0.100, 0.000),
    (0.120, 0.000, 0.800, 0.000, 0.080),
    (0.900, 0.020, 0.050, 0.010, 0.020),
    (0.900, 0.070, 0.010, 0.010, 0.010),
)
_VIOLATING_MIX = (  # insult, scam, threat
    (0.60, 0.20, 0.20),
    (0.72, 0.02, 0.26),
    (0.04, 0.94, 0.02),
    (0.10, 0.80, 0.10),
    (0.00, 1.00, 0.00),
    (0.00, 1.00, 0.00),
    (1.00, 0.00, 0.00),
)
# One dialect teases with the words that others insult with: a model that cannot tell flags it more.
_BANTER_BY_DIALECT = (1.0, 0.8, 2.6)

# How many telling phrases a post of each kind has; some violating posts have none.
_FORM_COUNT = (
    (0.95, 0.04, 0.01, 0.00),
    (0.00, 0.62, 0.28, 0.10),
    (0.00, 0.50, 0.35, 0.15),
    (0.00, 0.50, 0.38, 0.12),
    (0.05, 0.55, 0.30, 0.10),
    (0.09, 0.44, 0.31, 0.16),
    (0.07, 0.42, 0.34, 0.17),
    (0.10, 0.46, 0.30, 0.14),
)
_FAMILY_MIX = (  # insult, scam, threat, promotion
    (0.25, 0.25, 0.25, 0.25),
    (0.85, 0.01, 0.13, 0.01),
    (0.01, 0.84, 0.01, 0.14),
    (0.40, 0.30, 0.25, 0.05),
    (0.02, 0.05, 0.01, 0.92),
    (0.90, 0.01, 0.08, 0.01),
    (0.01, 0.93, 0.01, 0.05),
    (0.14, 0.01, 0.84, 0.01),
)
_REGISTER_MIX = (  # chat, forum, listing, comment
    (0.38, 0.24, 0.14, 0.24),
    (0.60, 0.20, 0.02, 0.18),
    (0.10, 0.15, 0.65, 0.10),
    (0.20, 0.40, 0.10, 0.30),
    (0.35, 0.20, 0.25, 0.20),
    (0.48, 0.17, 0.03, 0.32),
    (0.38, 0.20, 0.27, 0.15),
    (0.50, 0.20, 0.04, 0.26),
)
_CUE_MIX = (  # none, link, money, mention, emoji, shouting
    (0.60, 0.08, 0.05, 0.12, 0.12, 0.03),
    (0.38, 0.02, 0.02, 0.25, 0.26, 0.07),
    (0.30, 0.26, 0.30, 0.04, 0.07, 0.03),
    (0.55, 0.17, 0.06, 0.13, 0.05, 0.04),
    (0.30, 0.36, 0.10, 0.08, 0.13, 0.03),
    (0.45, 0.02, 0.02, 0.29, 0.08, 0.14),
    (0.24, 0.36, 0.24, 0.07, 0.05, 0.04),
    (0.48, 0.02, 0.02, 0.26, 0.06, 0.16),
)
# Topics: sport, food, music, travel, games, garden, work, politics.
_TOPIC_MIX = (
    (0.13, 0.15, 0.13, 0.13, 0.13, 0.12, 0.11, 0.10),
    (0.24, 0.07, 0.11, 0.06, 0.30, 0.04, 0.08, 0.10),
    (0.10, 0.14, 0.12, 0.16, 0.18, 0.14, 0.10, 0.06),
    (0.10, 0.08, 0.07, 0.14, 0.16, 0.06, 0.20, 0.19),
    (0.15, 0.25, 0.10, 0.12, 0.06, 0.13, 0.12, 0.07),
    (0.24, 0.06, 0.10, 0.06, 0.20, 0.04, 0.09, 0.21),
    (0.10, 0.10, 0.08, 0.20, 0.18, 0.06, 0.20, 0.08),
    (0.24, 0.05, 0.08, 0.06, 0.22, 0.04, 0.10, 0.21),
)
# How others spell a telling word when they do not hide it: they take up coinages a little.
_OPEN_SPELLING = (0.83, 0.03, 0.02, 0.01, 0.06, 0.05)

# Slang spreads: others take up this much of how the violating spell at the moment.
_TAKEN_UP = 0.3
_WARNING_QUOTES = 0.5
_UNSEEN = 1.0 / FORMS

_CONCEPT_SLOPE = 0.26
_TEMPLATE_SLOPE = 0.55


@dataclass(frozen=True)
class KindTables:
    """What each kind shows, at one moment of the adversary's adaptation.

    `form` is P(form | kind) with shape (kinds, `FORMS`), a form being a family, concept, spelling
    and phrase; the others are P(value | kind) of the post's other choices.
    """

    form: Floats
    count: Floats
    cue: Floats
    topic: Floats
    register: Floats


def build_tables(word_choice: Floats) -> KindTables:
    """Put the adversary's choice of words into the tables.

    Parameters
    ----------
    word_choice : ndarray, shape (families, concepts, surfaces)
        P(concept, surface) with which violating authors of a family write.
    """
    open_words = _open_words(word_choice)
    form = np.empty((len(KINDS), FORMS))
    for kind, name in enumerate(KINDS):
        hidden = name in ADVERSARIAL
        quoted = 1.0 if hidden else _WARNING_QUOTES if name == "warning" else 0.0
        # Those who warn quote what they saw, as it was spelt.
        words = quoted * word_choice + (1 - quoted) * open_words
        phrase = _phrases(hostile=hidden, mixed=name in {"warning", "chatter"})
        family = np.array(_FAMILY_MIX[kind])
        joint = family[:, None, None, None] * phrase.T[None, :, :, None] * words[:, None]
        form[kind] = joint.ravel() / joint.sum()
    return KindTables(
        form=form,
        count=np.array(_FORM_COUNT),
        cue=np.array(_CUE_MIX),
        topic=np.array(_TOPIC_MIX),
        register=np.array(_REGISTER_MIX),
    )


def forget_new_words(
    tables: KindTables, learnt: tuple[int, ...], now: tuple[int, ...]
) -> KindTables:
    """Return tables that were learnt in one epoch of coined words as they read a later one.

    Words coined since then say nothing: they are equally likely for every kind.
    """
    form = tables.form.reshape(len(KINDS), *_FORM_SHAPE).copy()
    coined, before = SURFACES.index("coined"), SURFACES.index("coined_before")
    for family, (then, today) in enumerate(zip(learnt, now, strict=True)):
        if today > then:
            known = today == then + 1
            form[:, family, ..., before] = form[:, family, ..., coined] if known else _UNSEEN
            form[:, family, ..., coined] = _UNSEEN
    return replace(tables, form=form.reshape(len(KINDS), FORMS))


def concept_preference(*, hostile: bool) -> Floats:
    """Return P(concept): violating authors prefer the first, others the last of the twelve."""
    order = np.arange(CONCEPTS) if hostile else np.arange(CONCEPTS)[::-1]
    weight = np.exp(-_CONCEPT_SLOPE * order)
    return np.asarray(weight / weight.sum())


def _open_words(word_choice: Floats) -> Floats:
    spelling = (1 - _TAKEN_UP) * np.array(_OPEN_SPELLING) + _TAKEN_UP * word_choice.sum(axis=1)
    return np.asarray(concept_preference(hostile=False)[None, :, None] * spelling[:, None, :])


def _phrases(*, hostile: bool, mixed: bool) -> Floats:
    """Return P(template | concept), shape (concepts, templates).

    Three words of four offend when said to somebody's face, the fourth when said behind their
    back: neither the word nor the phrase alone tells, which no linear model can learn.
    """
    slope = 0.0 if mixed else _TEMPLATE_SLOPE if hostile else -_TEMPLATE_SLOPE
    signs = np.where(np.arange(CONCEPTS) % 4 == 3, -1.0, 1.0)
    weight = np.exp(slope * signs[:, None] * np.arange(TEMPLATES)[None, :])
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def form_parts(form: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return family, concept, surface and template of forms."""
    family, template, concept, surface = np.unravel_index(form, _FORM_SHAPE)
    return family, concept, surface, template


def kind_mix(world: World, role: Ints, dialect: Ints, day: Ints) -> Floats:
    """Return P(kind | author, day), shape (posts, kinds)."""
    benign = np.array(_BENIGN_MIX)[role]
    benign[:, 1] *= np.array(_BANTER_BY_DIALECT)[dialect]
    benign /= benign.sum(axis=1, keepdims=True)
    share = np.array(_VIOLATING_SHARE)[role] * world.violating_multiplier(day)
    share = np.minimum(share, 0.95)[:, None]
    return np.hstack([benign * (1 - share), np.array(_VIOLATING_MIX)[role] * share])


def is_violating(kind: Ints, promotion_violates: Bools) -> Bools:
    """Return whether posts violate the policy of their day."""
    return np.asarray((kind > PROMOTION) | ((kind == PROMOTION) & promotion_violates))


def draw_given(table: Floats, given: npt.NDArray[np.integer], rng: np.random.Generator) -> Ints:
    """Draw one value a row from the row of `table` that `given` names."""
    uniform = rng.random(len(given))
    drawn = np.zeros(len(given), dtype=np.int64)
    for row in range(len(table)):
        rows = given == row
        edges = np.cumsum(table[row])
        drawn[rows] = np.searchsorted(edges / edges[-1], uniform[rows], side="right")
    return np.asarray(np.minimum(drawn, table.shape[1] - 1))


def draw_rows(probabilities: Floats, rng: np.random.Generator) -> Ints:
    """Draw one value a row from its own distribution."""
    edges = np.cumsum(probabilities, axis=1)
    uniform = rng.random(len(edges)) * edges[:, -1]
    drawn = (uniform[:, None] >= edges).sum(axis=1)
    return np.asarray(np.minimum(drawn, edges.shape[1] - 1))


def log_likelihood(
    tables: KindTables, *, forms: Ints, count: Ints, cue: Ints, topic: Ints, register: Ints
) -> Floats:
    """Return log P(text | kind) up to what is the same for every kind, shape (posts, kinds)."""
    with np.errstate(divide="ignore"):
        log_form, log_count = np.log(tables.form), np.log(tables.count)
        total = log_count[:, count] + np.log(tables.cue)[:, cue]
        total += np.log(tables.register)[:, register]
    # A novel topic is chosen whatever the kind: it says nothing.
    log_topic = np.hstack([np.log(tables.topic), np.zeros((len(KINDS), NOVEL_TOPICS))])
    total += log_topic[:, topic]
    for place in range(MAX_FORMS_PER_POST):
        there = count > place
        total[:, there] += log_form[:, forms[there, place]]
    return np.asarray(total.T)


def posterior_violating(likelihood: Floats, prior: Floats, promotion_violates: Bools) -> Floats:
    """Return P(violating | text, author's prior)."""
    with np.errstate(divide="ignore"):
        joint = likelihood + np.log(prior)
    joint = np.exp(joint - joint.max(axis=1, keepdims=True))
    violating = joint[:, PROMOTION + 1 :].sum(axis=1)
    violating += np.where(promotion_violates, joint[:, PROMOTION], 0.0)
    return np.asarray(violating / joint.sum(axis=1))
