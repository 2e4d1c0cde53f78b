"""Authors who leave the words and spellings that got them flagged, and coin new ones."""

from dataclasses import dataclass

import numpy as np

from tidegate.data.simulate.kinds import (
    ADVERSARIAL,
    KINDS,
    MAX_FORMS_PER_POST,
    concept_preference,
    form_parts,
)
from tidegate.data.simulate.lexicon import CONCEPTS, FAMILIES, SURFACES
from tidegate.data.simulate.world import Bools, Floats, Ints

_SHAPE = (len(FAMILIES), CONCEPTS, len(SURFACES))
_PLAIN, _COINED, _COINED_BEFORE = (
    SURFACES.index(name) for name in ("plain", "coined", "coined_before")
)
# What a spelling costs its author in readers, in log-odds against the plain word.
_COST = np.array([0.0, 2.7, 3.0, 3.3, 2.8, 2.8])
_BURNED_SHARE = 0.5
_MIN_USES = 10
# Two uses that were not flagged are assumed of every word: one bad day does not burn it.
_PRIOR_USES = 2.0


@dataclass(frozen=True)
class Adversary:
    """What violating authors have learnt; every family learns from its own posts.

    Parameters
    ----------
    aversion : ndarray, shape (families, concepts, surfaces)
        Log-odds by which a word in a spelling is avoided.
    epoch : tuple of int
        How often each family has coined new words.
    age_weeks : tuple of int
        How long each family has used its newest words.
    """

    aversion: Floats
    epoch: tuple[int, ...]
    age_weeks: tuple[int, ...]

    @classmethod
    def naive(cls) -> "Adversary":
        """Return authors that nobody has flagged yet."""
        return cls(np.zeros(_SHAPE), (0,) * len(FAMILIES), (0,) * len(FAMILIES))

    def word_choice(self) -> Floats:
        """Return P(concept, surface) a family, shape (families, concepts, surfaces)."""
        liking = np.log(concept_preference(hostile=True))[None, :, None] - _COST - self.aversion
        weight = np.exp(liking - liking.max(axis=(1, 2), keepdims=True))
        return np.asarray(weight / weight.sum(axis=(1, 2), keepdims=True))

    def hidden_shares(self) -> dict[str, float]:
        """Return the share of each family's telling words that are not spelt plainly."""
        plain = self.word_choice()[:, :, _PLAIN].sum(axis=1)
        return {
            name: round(1 - float(share), 4) for name, share in zip(FAMILIES, plain, strict=True)
        }

    def after(
        self,
        forms: Ints,
        count: Ints,
        kind: Ints,
        flagged: Bools,
        *,
        rate: float,
        memory: float,
        coining_weeks: int,
    ) -> "Adversary":
        """Return what they know after a week of posts, some of them flagged.

        The rule is multiplicative weights (Freund and Schapire, 1997) with forgetting: a word
        loses `rate` log-odds for being flagged always, and old losses fade by `memory` a week, so
        that words come back when no model knows them any more.
        """
        uses, caught = np.zeros(_SHAPE), np.zeros(_SHAPE)
        age_weeks = tuple(age + 1 for age in self.age_weeks)
        adversarial = np.isin(kind, [KINDS.index(name) for name in ADVERSARIAL])
        for place in range(MAX_FORMS_PER_POST):
            rows = adversarial & (count > place)
            family, concept, surface, _ = form_parts(forms[rows, place])
            np.add.at(uses, (family, concept, surface), 1.0)
            np.add.at(caught, (family, concept, surface), flagged[rows].astype(np.float64))
        if not caught.any():
            return Adversary(self.aversion * memory, self.epoch, age_weeks)
        # A word that was hardly used borrows the fate of its spelling.
        spelling = caught.sum(axis=1) / (uses.sum(axis=1) + _PRIOR_USES)
        share = (caught + _PRIOR_USES * spelling[:, None, :]) / (uses + _PRIOR_USES)
        aversion = memory * self.aversion + rate * share
        epoch, ages = list(self.epoch), list(age_weeks)
        for which in range(len(FAMILIES)):
            used = uses[which, :, _COINED].sum()
            burned = caught[which, :, _COINED].sum() > _BURNED_SHARE * used
            if used >= _MIN_USES and burned and ages[which] >= coining_weeks:
                aversion[which, :, _COINED_BEFORE] = aversion[which, :, _COINED]
                aversion[which, :, _COINED] = 0.0
                epoch[which] += 1
                ages[which] = 0
        return Adversary(aversion, tuple(epoch), tuple(ages))
