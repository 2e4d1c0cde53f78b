"""Synthetic posts: small tables that behave like moderation data and hold nobody's words."""

import importlib
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tests.toy_encoder import write_toy_encoder

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


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a package that offers one algorithm by entry point, as a third party would."""

    def install(name, source):
        site = tmp_path / "site"
        folder = site / f"{name}_plugin-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n"
        )
        (folder / "entry_points.txt").write_text(
            f"[tidegate.algorithms]\n{name} = {name}_plugin:{name.upper()}\n"
        )
        header = "from dataclasses import replace\nfrom tidegate.models.linear import LOGISTIC\n"
        (site / f"{name}_plugin.py").write_text(header + textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, f"{name}_plugin", raising=False)

    return install


@pytest.fixture
def features(tmp_path):
    """A feature set with a train and a validation split, and no holdout to be read."""
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    from tidegate import store
    from tidegate.records import FeatureBlock, FeatureSet

    random = np.random.default_rng(0)
    folder = tmp_path / "features"
    folder.mkdir()
    for split, rows in (("train", 300), ("validation", 150)):
        y = (random.random(rows) < 0.3).astype(np.int8)
        probability = np.full((rows, 30), 0.1)
        probability[:, :4] = np.where(y[:, None] == 1, 0.3, 0.05)
        words = (random.random((rows, 30)) < probability).astype(np.float32)
        (folder / split).mkdir()
        sp.save_npz(folder / split / "00.npz", sp.csr_matrix(words))
        roles = pd.DataFrame({"_id": range(rows), "_label": y, "_weight": np.ones(rows)})
        roles.to_parquet(folder / f"{split}.parquet")
    block = FeatureBlock(name="text:tfidf_word", column="text", family="words", width=30)
    store.write_record(folder / "features.json", FeatureSet(snapshot_digest="0", blocks=(block,)))
    return folder


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory) -> str:
    """Return the folder of an encoder of random weights: 2 layers, 32 dimensions, 60 words."""
    return str(write_toy_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def kserve_models(monkeypatch):
    # KServe reads the command line of whoever imports it.
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    return [importlib.import_module("kserve.models"), importlib.import_module("kubernetes.client")]


@pytest.fixture(scope="module")
def s3():
    """Two empty buckets behind a real HTTP server, and a client of it."""
    import boto3
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        client = boto3.client("s3")
        client.create_bucket(Bucket="posts")
        client.create_bucket(Bucket="logs")
        yield client
        client.close()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()
