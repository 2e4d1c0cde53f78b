"""Synthetic posts: small tables that behave like moderation data and hold nobody's words."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

_NEUTRAL = [
    f"{a}{b}" for a in ("bo", "ka", "li", "mu", "re", "si", "ta") for b in ("na", "ro", "vi")
]
_TELLING = [f"{a}{b}" for a in ("zap", "qux", "wix") for b in ("ol", "em", "ur")]


def synthetic_posts(rows: int, *, seed: int = 0, prevalence: float = 0.3) -> pd.DataFrame:
    """Return posts whose violating ones use more of nine telling words, but not only they."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < prevalence).astype(int)
    texts = []
    for violating in label:
        words = list(rng.choice(_NEUTRAL, size=rng.integers(4, 12)))
        telling = rng.binomial(4, 0.7 if violating else 0.04)
        words += list(rng.choice(_TELLING, size=telling))
        rng.shuffle(words)
        texts.append(" ".join([*words, f"w{rng.integers(10_000)}"]))
    return pd.DataFrame(
        {
            "post": [f"p{number}" for number in range(rows)],
            "body": texts,
            "violating": label,
            "created_at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(np.arange(rows), unit="h"),
            "dialect": rng.choice(["north", "south"], size=rows),
            "account_age_days": rng.gamma(2.0, 200.0, size=rows).round(1),
            "surface": rng.choice(["feed", "reply", "bio"], size=rows, p=[0.6, 0.3, 0.1]),
        }
    )


@pytest.fixture(scope="session")
def make_posts() -> Callable[..., pd.DataFrame]:
    """Give tests the generator itself."""
    return synthetic_posts
