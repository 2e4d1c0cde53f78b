"""The grammar: discrete choices that a kind of post makes, and the text they spell."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tidegate.data.simulate import lexicon
from tidegate.data.simulate.kinds import (
    FORMS,
    MAX_FORMS_PER_POST,
    KindTables,
    draw_given,
    draw_rows,
    form_parts,
)
from tidegate.data.simulate.lexicon import FAMILIES, LANGUAGES, REGISTERS, SURFACES
from tidegate.data.simulate.world import Floats, Ints

Words = npt.NDArray[np.object_]

# P(marker | dialect): standard, then each dialect's own particle.
MARKER_SHARES = np.array(
    [[0.55, 0.41, 0.02, 0.02], [0.55, 0.02, 0.41, 0.02], [0.50, 0.02, 0.02, 0.46]]
)
_SECOND_CLAUSE_SHARE = 0.45
_NAME_SHARE = 0.5
_STYLED_NOUN_SHARE = 0.03
_SHOUTING = lexicon.CUES.index("shouting")
_WITH_NUMBER = lexicon.CUES.index("money")
_NUMBERS = 500

#: The choices of a post, one column each; a campaign's script fixes them for all its members.
CHOICES = (
    *("language", "register", "topic", "count", "form_1", "form_2", "form_3", "cue", "cue_value"),
    *("marker", "particle", "opener", "clause_1", "noun_1", "adjective_1", "clause_2", "noun_2"),
    *("adjective_2", "second", "named", "name", "forms_first", "styled"),
)
COLUMN = {name: column for column, name in enumerate(CHOICES)}
# A member of a campaign may change these; the rest of the script makes no sense without the whole.
MUTABLE = [
    COLUMN[name] for name in CHOICES if name not in {"language", "register", "topic", "count"}
]


@dataclass(frozen=True)
class Choices:
    """The drawn choices of some posts, shape (posts, len(`CHOICES`))."""

    values: Ints

    def __getitem__(self, name: str) -> Ints:
        """Return one column."""
        column: Ints = self.values[:, COLUMN[name]]
        return column

    @property
    def forms(self) -> Ints:
        """Telling phrases, shape (posts, `MAX_FORMS_PER_POST`); those beyond `count` are unused."""
        first = COLUMN["form_1"]
        forms: Ints = self.values[:, first : first + MAX_FORMS_PER_POST]
        return forms


def draw_choices(
    kind: Ints,
    language: Ints,
    dialect: Ints,
    novel_shares: Floats,
    tables: KindTables,
    rng: np.random.Generator,
) -> Choices:
    """Draw the choices of posts of the given kinds.

    Parameters
    ----------
    kind, language, dialect : ndarray of int, shape (posts,)
    novel_shares : ndarray, shape (posts, novel topics)
        Chance of each novel topic on the day of the post.
    """
    rows = len(kind)
    values = np.zeros((rows, len(CHOICES)), dtype=np.int64)

    def put(name: str, drawn: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> None:
        values[:, COLUMN[name]] = drawn

    put("language", language)
    put("register", draw_given(tables.register, kind, rng))
    topic = draw_given(tables.topic, kind, rng)
    usual = 1 - novel_shares.sum(axis=1, keepdims=True)
    novel = draw_rows(np.hstack([usual, novel_shares]), rng)
    put("topic", np.where(novel > 0, tables.topic.shape[1] + novel - 1, topic))
    put("count", draw_given(tables.count, kind, rng))
    for place in range(MAX_FORMS_PER_POST):
        put(f"form_{place + 1}", draw_given(tables.form, kind, rng))
    put("cue", draw_given(tables.cue, kind, rng))
    put("cue_value", _zipf(rng, rows, lexicon.NAMES))
    put("marker", draw_given(MARKER_SHARES, dialect, rng))
    put("particle", rng.integers(2, size=rows))
    put("opener", rng.integers(len(lexicon.OPENERS["en"][0]), size=rows))
    for place in (1, 2):
        put(f"clause_{place}", rng.integers(len(lexicon.CLAUSES["en"][0]), size=rows))
        put(f"noun_{place}", rng.integers(10, size=rows))
        put(f"adjective_{place}", rng.integers(16, size=rows))
    put("second", rng.random(rows) < _SECOND_CLAUSE_SHARE)
    put("named", rng.random(rows) < _NAME_SHARE)
    put("name", _zipf(rng, rows, lexicon.NAMES))
    put("forms_first", rng.random(rows) < 0.5)
    put("styled", rng.random(rows) < _STYLED_NOUN_SHARE)
    return Choices(values)


def _zipf(rng: np.random.Generator, rows: int, values: int) -> Ints:
    """Draw ranks whose chance falls as 1/rank: a long tail of rare words."""
    rank = np.exp(rng.random(rows) * np.log(values)).astype(np.int64)
    return np.asarray(np.minimum(rank, values) - 1)


def render(choices: Choices, epoch: tuple[int, ...]) -> Words:
    """Spell the posts; `epoch` says which coined words each family has now."""
    spoken = _Lexicon.of_languages()
    language, register = choices["language"], choices["register"]
    shouting = choices["cue"] == _SHOUTING
    forms = _form_texts(epoch)
    none = np.full(len(language), "", dtype=object)
    told = [
        np.where(
            choices["count"] > place,
            forms[shouting.astype(np.int64), language, choices.forms[:, place]],
            none,
        )
        for place in range(MAX_FORMS_PER_POST)
    ]
    first = choices["forms_first"] == 1
    second = choices["second"] == 1
    name = np.where(choices["named"] == 1, spoken.near[language, choices["name"]], none)
    columns = [
        spoken.particles[language, choices["marker"], choices["particle"]],
        spoken.openers[language, register, choices["opener"]],
        *(np.where(first, text, none) for text in told),
    ]
    for place, there in ((1, np.ones_like(second)), (2, second)):
        before, between, after = (
            spoken.clauses[part, language, register, choices[f"clause_{place}"]]
            for part in range(3)
        )
        noun = spoken.nouns[choices["styled"], language, choices["topic"], choices[f"noun_{place}"]]
        adjective = spoken.adjectives[language, choices[f"adjective_{place}"]]
        parts = [before, noun, between, adjective, after]
        columns += parts if place == 1 else [np.where(there, part, none) for part in parts]
        columns.append(name if place == 1 else none)
        columns.append(np.where(there, " ", none))
    columns += [np.where(first, none, text) for text in told]
    columns += [
        spoken.cue_before[language, choices["cue"]],
        _cue_values(choices),
        spoken.cue_after[language, choices["cue"]],
    ]
    texts = np.empty(len(language), dtype=object)
    texts[:] = ["".join(parts).strip() for parts in zip(*columns, strict=True)]
    return texts


def _cue_values(choices: Choices) -> Words:
    cue, value = choices["cue"], choices["cue_value"]
    spoken = _Lexicon.of_languages()
    named = (cue == lexicon.CUES.index("link")) | (cue == lexicon.CUES.index("mention"))
    numbered = cue == _WITH_NUMBER
    picked = np.where(numbered, value % _NUMBERS + lexicon.NAMES + 1, np.where(named, value + 1, 0))
    chosen: Words = spoken.cue_values[picked]
    return chosen


def word_text(family: int, language: int, concept: int, surface: int, epoch: int) -> str:
    """Return how a telling word is written in one epoch of its family."""
    name = SURFACES[surface]
    if name == "coined":
        return lexicon.coined_word(family, language, concept, epoch + 1)
    if name == "coined_before":
        return lexicon.coined_word(family, language, concept, epoch)
    words = lexicon.CONCEPT_WORDS[FAMILIES[family]][LANGUAGES[language]].split()
    return lexicon.spell(words[concept], name)


@cache
def _form_texts(epoch: tuple[int, ...]) -> Words:
    """Return every telling phrase, shape (calm or shouting, languages, `FORMS`)."""
    texts = np.empty((2, len(LANGUAGES), FORMS), dtype=object)
    parts = [part.tolist() for part in form_parts(np.arange(FORMS))]
    for language, spoken in enumerate(LANGUAGES):
        for form, (family, concept, surface, template) in enumerate(zip(*parts, strict=True)):
            word = word_text(family, language, concept, surface, epoch[family])
            phrase = lexicon.TEMPLATE_TEXT[FAMILIES[family]][spoken][template]
            texts[0, language, form] = phrase.format(word) + " "
            texts[1, language, form] = phrase.format(word).upper() + " "
    return texts


@dataclass(frozen=True)
class _Lexicon:
    """The lexicon's strings as arrays that index arrays can take from."""

    particles: Words
    openers: Words
    clauses: Words
    nouns: Words
    adjectives: Words
    near: Words
    cue_before: Words
    cue_after: Words
    cue_values: Words

    @staticmethod
    @cache
    def of_languages() -> "_Lexicon":
        """Return the one lexicon there is."""
        spoken = LANGUAGES
        nouns = [[row.split() for row in lexicon.TOPIC_NOUNS[language]] for language in spoken]
        styled = [[[lexicon.spell(word, "leet") for word in row] for row in rows] for rows in nouns]
        around = {"en": " near {}", "es": " cerca de {}"}
        clauses = np.array(
            [
                [list(lexicon.CLAUSES[language][r]) for r in range(len(REGISTERS))]
                for language in spoken
            ],
            dtype=object,
        )
        numbers = [str(5 + 7 * number) for number in range(_NUMBERS)]
        handles = [name.lower() for name in lexicon.names()]
        return _Lexicon(
            particles=np.array([lexicon.PARTICLES[language] for language in spoken], dtype=object),
            openers=np.array([lexicon.OPENERS[language] for language in spoken], dtype=object),
            clauses=np.moveaxis(clauses, -1, 0),
            nouns=np.array([nouns, styled], dtype=object),
            adjectives=np.array(
                [lexicon.ADJECTIVES[language].split() for language in spoken], dtype=object
            ),
            near=np.array(
                [
                    [around[language].format(name) for name in lexicon.names()]
                    for language in spoken
                ],
                dtype=object,
            ),
            cue_before=_cue_part(0),
            cue_after=_cue_part(2),
            cue_values=np.array(["", *handles, *numbers], dtype=object),
        )


def _cue_part(part: int) -> Words:
    return np.array(
        [[parts[part] for parts in lexicon.CUE_PARTS[language]] for language in LANGUAGES],
        dtype=object,
    )
