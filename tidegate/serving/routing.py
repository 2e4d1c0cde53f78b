"""A served cascade: which rows its heavy model saw, and how far the queue turns its knob."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tidegate.config import ServingConfig
from tidegate.models.bundle import Bundle
from tidegate.models.cascade import Cascade
from tidegate.pass_through import load_of_queue


class Routing(NamedTuple):
    """Score of each row, and whether it stopped at the light model; both of shape (rows,)."""

    scores: npt.NDArray[np.float64]
    stopped: npt.NDArray[np.bool_]


class CascadeRouter:
    """Routes rows through a bundle's cascade at the load of the moment.

    Parameters
    ----------
    bundle : Bundle
        Its model is the `cascade`.
    cascade : Cascade
        Its knob is turned here and nowhere else.
    config : ServingConfig
        `cascade_load` fixes the knob, or leaves it to the queue, which `cascade_queue` measures
        in shares of `max_concurrent`.
    """

    def __init__(self, bundle: Bundle, cascade: Cascade, config: ServingConfig) -> None:
        self._bundle, self._cascade = bundle, cascade
        self._is_automatic = config.cascade_load == "auto"
        begin, end = config.cascade_queue
        self._comfortable = round(begin * config.max_concurrent)
        self._full = max(self._comfortable + 1, round(end * config.max_concurrent))
        if config.cascade_load != "auto":
            cascade.load = config.cascade_load

    @property
    def load(self) -> float:
        """Where the knob stands, in [0, 1]."""
        return self._cascade.load

    def feel(self, in_hand: int) -> None:
        """Turn the knob by the number of requests that wait or are being answered."""
        if self._is_automatic:
            self._cascade.load = load_of_queue(
                in_hand, comfortable=self._comfortable, full=self._full
            )

    def route(self, rows: Sequence[Mapping[str, Any]]) -> Routing:
        """Score rows at the knob's load."""
        found = self._cascade.route(self._bundle.features_of(rows))
        return Routing(found.outputs[:, 1], found.stopped)

    def warm_up(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Let both models score rows, whatever the light one says of them."""
        X = self._bundle.features_of(rows)
        for stage in (self._cascade.light, self._cascade.heavy):
            stage.model.predict_proba(X)


def router_of(bundle: Bundle, config: ServingConfig) -> CascadeRouter | None:
    """Return the router of a bundle whose model is a cascade, None for any other."""
    model = bundle.model
    return CascadeRouter(bundle, model, config) if isinstance(model, Cascade) else None
