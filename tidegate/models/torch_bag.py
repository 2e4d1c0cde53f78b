"""The embedding-bag net in torch, for training only; `neural` scores it in numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

Arrays = dict[str, npt.NDArray[np.float32]]

_FIRST_SPREAD = 0.1


class BagNet(nn.Module):  # type: ignore[misc]
    """A weighted sum of term vectors, normed, beside dense features, and one hidden layer.

    Each term also adds to the logits directly (wide and deep; Cheng et al., 2016).

    Parameters
    ----------
    terms, dense : int
        Widths of the two inputs; one of them may be 0.
    width : int
        Of a term's vector.
    hidden : int
        Units of the hidden layer.
    outputs : int
    dropout : float
        Before and after the hidden layer.
    term_dropout : float
        Share of each text's terms that a step does not see (Iyyer et al., 2015).
    """

    def __init__(
        self,
        terms: int,
        dense: int,
        width: int,
        hidden: int,
        outputs: int,
        dropout: float,
        term_dropout: float,
    ) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(terms, width, mode="sum") if terms else None
        if self.bag is not None:
            nn.init.normal_(self.bag.weight, std=_FIRST_SPREAD)
        self.norm = nn.LayerNorm(width) if terms else None
        self.wide = nn.EmbeddingBag(terms, outputs, mode="sum") if terms else None
        if self.wide is not None:
            nn.init.zeros_(self.wide.weight)
        self.term_dropout = term_dropout
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear((width if terms else 0) + dense, hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits of shape (rows, outputs)."""
        parts, wide = [batch["dense"]], 0.0
        if self.bag is not None and self.norm is not None and self.wide is not None:
            values = functional.dropout(batch["values"], self.term_dropout, self.training)
            terms = batch["terms"], batch["starts"]
            parts.append(self.norm(self.bag(*terms, per_sample_weights=values)))
            wide = self.wide(*terms, per_sample_weights=values)
        hidden = torch.relu(self.hidden(self.drop(torch.cat(parts, dim=1))))
        return self.head(self.drop(hidden)) + wide


def batch_of(terms: Any, dense: npt.NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """Return a CSR matrix of terms and an array of dense features as `BagNet` takes them."""
    return {
        "terms": torch.from_numpy(terms.indices.astype(np.int64)),
        "starts": torch.from_numpy(terms.indptr[:-1].astype(np.int64)),
        "values": torch.from_numpy(terms.data.astype(np.float32)),
        "dense": torch.from_numpy(dense),
    }


def as_arrays(net: BagNet) -> Arrays:
    """Return every weight by its name."""
    return {name: value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def start_from(net: BagNet, arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Give a net the weights of one of the same shape; False, and no change, if it is another."""
    own = net.state_dict()
    if any(name not in arrays or arrays[name].shape != own[name].shape for name in own):
        return False
    net.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in own})
    return True
