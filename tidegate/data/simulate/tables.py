"""A platform on disk: Parquet tables written week by week, the truth apart, a config to run."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate import store
from tidegate.data.simulate.accounts import Campaign
from tidegate.data.simulate.kinds import KINDS, ROLES
from tidegate.data.simulate.platform import Platform, Week
from tidegate.data.simulate.schemas import SCHEMAS
from tidegate.data.simulate.world import World, stream
from tidegate.errors import BadInput
from tidegate.records import SPLITS

_ROW_GROUP_ROWS = 1 << 17

# Of the audited posts: for training, validation and holdout.
_GOLDEN_SPLIT = (0.3, 0.35, 0.35)
_WEEKLY = ("posts", "events", "reports", "labels", "appeals", "truth")

_CONFIG = """\
# A simulated platform (seed {seed}): the posts that investigators, audits and appeals labelled.
# Investigators look where posts are hard to tell; a model that is judged on their rows looks worse
# than it is. Validation and holdout are `audit` rows, drawn at random from all days. For the view
# of one who cannot see the future, write split: {{by: time}}; the drifts of world.json then bite.
name: simulated
data:
  source: training.parquet
  id: post_id
  text: text
  label: label
  time: created_at
  groups: dialect
  split: {{column: split, deduplicate: true}}
  label_source: label_source
  label_weights: {{audit: 1, investigator: 1, appeal: 0.9}}
# Training rows are richer in violating ones than the audited ones, as labels are.
validation: {{prevalence_tolerance: 0.4, max_unseen_share: 0.2}}
policy: {{min_precision: 0.80, confidence: 0.95, max_fpr_gap: 0.10}}
search: {{algorithms: [logistic, xgboost], minutes: 3, trials: 8, parallel: 1, seed: 0}}
"""


def simulate(out: Path, world: World, seed: int) -> dict[str, Any]:
    """Simulate a platform from its first to its last day and write its tables.

    Parameters
    ----------
    out : Path
        Folder to write; it appears whole or not at all. It must be absent or empty.
    world : World
        What the platform is made of.
    seed : int
        The same world, seed and library versions give the same bytes.

    Returns
    -------
    dict
        What ``world.json`` says: parameters, drifts, campaigns, the adversary week by week, the
        ceilings, and the digest of every table.

    Raises
    ------
    BadInput
        If `out` holds something already or the seed is negative.
    """
    if seed < 0:
        raise BadInput("seed", f"must be 0 or more, got {seed}", "write 0")
    if out.exists() and not out.is_dir():
        raise BadInput(str(out), "is a file", "name a folder that is not there yet")
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(str(out), "is not empty", "name another folder, or empty it")
    platform = Platform(world, seed)
    with store.new_directory(out.resolve()) as folder:
        _write_once(folder, "accounts", platform.accounts())
        _write_once(folder, "account_truth", platform.account_truth())
        _write_once(folder, "edges", platform.edges())
        labelled, chances = _write_weeks(folder, platform)
        _write_training(folder, labelled, stream(seed, "split"))
        store.write_text(folder / "config.yaml", _CONFIG.format(seed=seed))
        story = _story(folder, platform, chances)
        store.write_json(folder / "world.json", story)
    return story


def _write_weeks(folder: Path, platform: Platform) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the weekly tables; return the newest-first labels and the truth's chances."""
    labels, chances = [], []
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                pq.ParquetWriter(folder / f"{name}.parquet", SCHEMAS[name], compression="zstd")
            )
            for name in _WEEKLY
        }
        for number in range(platform.world.weeks):
            week = platform.week(number)
            for name, writer in writers.items():
                table = _as_table(name, getattr(week, name))
                writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
            labels.append(training_labels(week))
            chances.append(week.truth[["violating", "p_text", "p_all"]].astype(np.float32))
    labelled = pd.concat(labels, ignore_index=True).drop_duplicates("post_id")
    return labelled, pd.concat(chances, ignore_index=True)


def training_labels(week: Week) -> pd.DataFrame:
    """Return the labels that a week brought, one a post: investigators' before appeals'.

    Columns: ``post_id``, ``label``, ``label_source``.
    """
    told = week.labels.rename(columns={"source": "label_source"})
    upheld = (week.appeals["outcome"] == "upheld").astype(np.int8)
    appealed = week.appeals[["post_id"]].assign(label=upheld, label_source="appeal")
    both = [told[["post_id", "label", "label_source"]], appealed]
    joined = pd.concat(both, ignore_index=True)
    return joined.drop_duplicates("post_id", ignore_index=True)


def _write_training(folder: Path, labelled: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write the labelled posts with their labels, reading the posts a row group at a time."""
    columns = [name for name in SCHEMAS["training"].names if name in SCHEMAS["posts"].names]
    wanted = pa.array(labelled["post_id"].to_numpy())
    with pq.ParquetFile(folder / "posts.parquet") as posts:
        found = []
        for group in range(posts.num_row_groups):
            table = posts.read_row_group(group, columns=columns)
            found.append(table.filter(pc.is_in(table["post_id"], wanted)).to_pandas())
    rows = pd.concat(found, ignore_index=True).merge(labelled, on="post_id", validate="1:1")
    golden = (rows["label_source"] == "audit").to_numpy()
    part = rng.choice(np.array(SPLITS, dtype=object), p=_GOLDEN_SPLIT, size=len(rows))
    rows["split"] = np.where(golden, part, SPLITS[0])
    _write_once(folder, "training", rows)


def _write_once(folder: Path, name: str, frame: pd.DataFrame) -> None:
    pq.write_table(_as_table(name, frame), folder / f"{name}.parquet", compression="zstd")


def _as_table(name: str, frame: pd.DataFrame) -> Any:
    table = pa.Table.from_pandas(frame, schema=SCHEMAS[name], preserve_index=False)
    return table.replace_schema_metadata(None)


def _story(folder: Path, platform: Platform, chances: pd.DataFrame) -> dict[str, Any]:
    tables = {
        path.name: {
            "rows": pq.read_metadata(path).num_rows,
            "sha256": store.digest_file(path),
        }
        for path in sorted(folder.glob("*.parquet"))
    }
    return {
        "seed": platform.seed,
        "parameters": platform.world.parameters(),
        "kinds": list(KINDS),
        "roles": list(ROLES),
        "release_days": list(
            range(
                platform.world.release_every_days,
                platform.world.days,
                platform.world.release_every_days,
            )
        ),
        "campaigns": [_campaign_story(campaign) for campaign in platform.campaigns],
        "weeks": platform.history,
        "ceiling": ceilings(chances),
        "tables": tables,
        "digest": store.digest_json(tables),
        "libraries": {"numpy": np.__version__, "pyarrow": pa.__version__},
    }


def _campaign_story(campaign: Campaign) -> dict[str, Any]:
    return {
        "campaign": campaign.number,
        "role": ROLES[campaign.role],
        "kind": KINDS[campaign.kind],
        "members": campaign.members.tolist(),
        "first_day": campaign.first_day,
        "last_day": campaign.last_day,
        "victim": campaign.victim,
    }


def ceilings(truth: pd.DataFrame) -> dict[str, float]:
    """Return the average precision that nobody can expect to pass.

    ``text`` ranks by P(violating | the post's text alone, the day's policy and adversary);
    ``everything`` also knows the author's role and dialect and the scripts of campaigns.
    """
    from sklearn.metrics import average_precision_score

    violating = truth["violating"].to_numpy()
    return {
        "prevalence": round(float(violating.mean()), 6),
        "text": round(float(average_precision_score(violating, truth["p_text"])), 6),
        "everything": round(float(average_precision_score(violating, truth["p_all"])), 6),
    }
