"""What the simulated platform holds, how far models get on it, and how far anybody could.

Simulates a platform, prints its statistics week by week, then trains Tidegate's own algorithms on
true labels and sets them beside the ceilings that the generator knows. ``--figure FILE.svg`` draws
the plots of docs/simulator.md; ``--no-models`` leaves the training out, to measure speed alone.

``python benchmarks/simulator.py [--accounts N] [--days D] [--seed S] [--figure FILE.svg]``
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from tidegate import store
from tidegate.data.simulate import Platform, World, simulate

Array = npt.NDArray[np.float64]
START = pd.Timestamp("2026-01-05", tz="UTC")
FLOORS = (0.8, 0.9)
BOTS = ("spam_bot", "service_bot")


def figures_of(violating: Array, score: Array) -> dict[str, float]:
    """Return average precision, and the recall at each precision floor."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, _ = precision_recall_curve(violating, score)
    reached = {
        f"recall_at_{floor:g}": round(float(recall[precision >= floor].max()), 3)
        for floor in FLOORS
    }
    average = average_precision_score(violating, score)
    return {"average_precision": round(float(average), 3), **reached}


def score_with(algorithm: Any, train: pd.DataFrame, test: pd.DataFrame, *, author: bool) -> Array:
    """Fit one algorithm at its defaults on text, with the author's role if asked; score `test`."""
    from tidegate.config import FeatureConfig
    from tidegate.features.featurizer import Featurizer
    from tidegate.records import Column

    columns = [Column(name="text", kind="text")]
    columns += [Column(name="role", kind="categorical")] if author else []
    y = train["violating"].to_numpy()
    featurizer = Featurizer.fit(train, columns, y, FeatureConfig())
    model = algorithm.build(algorithm.defaults, 0, 2)
    model.fit(featurizer.transform(train), y, np.ones(len(train)))
    scores: Array = model.predict_proba(featurizer.transform(test))[:, 1]
    return scores


def compare_models(posts: pd.DataFrame, days: int, rows: int) -> dict[str, dict[str, Any]]:
    """Return what each model reaches on posts of the same days and of the days after."""
    from tidegate.models.boosted import XGBOOST
    from tidegate.models.linear import LOGISTIC

    shuffled = posts.sample(frac=1.0, random_state=0)
    past = shuffled["day"] < 0.6 * days
    settings = {
        "same days": (shuffled[:rows], shuffled[rows : 2 * rows]),
        "later days": (shuffled[past][:rows], shuffled[~past][:rows]),
    }
    found: dict[str, dict[str, Any]] = {}
    for setting, (train, test) in settings.items():
        violating = test["violating"].to_numpy()
        scores = {
            "logistic, text": score_with(LOGISTIC, train, test, author=False),
            "xgboost, text": score_with(XGBOOST, train, test, author=False),
            "logistic, text and true role": score_with(LOGISTIC, train, test, author=True),
            "ceiling, one text": test["p_text"].to_numpy(),
            "ceiling, everything": test["p_all"].to_numpy(),
        }
        for name, score in scores.items():
            found.setdefault(name, {})[setting] = figures_of(violating, score)
    return found


def live_a_year(seed: int) -> dict[str, float]:
    """Live through 52 weeks of about 2,000 posts, with a word filter that flags."""
    begin_cpu = time.process_time()
    platform = Platform(World(accounts=572, days=364), seed)
    posts = 0
    for number in range(platform.world.weeks):
        posts += len(platform.week(number, lambda rows: rows["text"].str.contains("zorble")).posts)
    return {"posts": posts, "cpu_seconds": round(time.process_time() - begin_cpu, 1)}


def print_table(headings: list[str], rows: list[list[str]]) -> None:
    for cells in (headings, ["---"] * len(headings), *rows):
        print("| " + " | ".join(cells) + " |")
    print()


def weekly(posts: pd.DataFrame) -> pd.DataFrame:
    """Return the platform's course, a row a week."""
    abuse = posts["kind"].isin(["insult", "scam", "threat"])
    week = posts["day"] // 7
    return pd.DataFrame(
        {
            "posts": posts.groupby(week).size(),
            "prevalence": posts.groupby(week)["violating"].mean(),
            "flagged": posts.groupby(week)["flagged"].mean(),
            "recall": posts[posts["violating"] == 1].groupby(week)["flagged"].mean(),
            "hidden words": posts[abuse].groupby(week)["hidden_words"].mean(),
        }
    )


def draw(path: Path, folder: Path, posts: pd.DataFrame, story: Mapping[str, Any]) -> None:
    """Draw four plots into one SVG: the course, the adversary, the clock, the labels."""
    import altair as alt
    import vl_convert

    width, height = 330, 170
    course = weekly(posts).reset_index(names="week")
    marks = [
        {"week": d["day"] / 7, "event": f"{d['kind']} drift"} for d in story["parameters"]["drifts"]
    ]
    rules = (
        alt.Chart(alt.Data(values=marks))
        .mark_rule(strokeDash=[4, 3])
        .encode(
            x="week:Q", color=alt.Color("event:N", title=None, legend=alt.Legend(orient="bottom"))
        )
    )
    prevalence = (
        alt.Chart(_data(course))
        .mark_line(point=True, color="#333")
        .encode(
            x=alt.X("week:Q", title="week"),
            y=alt.Y("prevalence:Q", title="violating", axis=alt.Axis(format="%")),
        )
    )
    shares = course.melt("week", ["recall", "hidden words"], "share of", "share")
    releases = [{"week": day / 7} for day in story["release_days"]]
    adversary = (
        alt.Chart(_data(shares))
        .mark_line(point=True)
        .encode(
            x=alt.X("week:Q", title="week"),
            y=alt.Y("share:Q", title="share", axis=alt.Axis(format="%")),
            color=alt.Color("share of:N", title=None, legend=alt.Legend(orient="bottom")),
        )
    )
    released = alt.Chart(alt.Data(values=releases)).mark_rule(strokeDash=[4, 3]).encode(x="week:Q")
    clock = (
        alt.Chart(_data(by_hour(folder)))
        .mark_line()
        .encode(
            x=alt.X("hour:Q", title="local hour"),
            y=alt.Y("share:Q", title="of their events", axis=alt.Axis(format="%")),
            color=alt.Color("who:N", title=None, legend=alt.Legend(orient="bottom")),
        )
    )
    labels = (
        alt.Chart(_data(by_chance(folder, posts)))
        .mark_line(point=True)
        .encode(
            x=alt.X("chance:Q", title="P(violating | text)"),
            y=alt.Y(
                "share:Q",
                title="of the rows",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(type="sqrt"),
            ),
            color=alt.Color("rows:N", title=None, legend=alt.Legend(orient="bottom")),
        )
    )
    panels = (
        (prevalence + rules, "Share of violating posts, and the drifts"),
        (adversary + released, "Authors hide after each release (dashed)"),
        (clock, "When people and bots act"),
        (labels, "Which posts get labelled"),
    )
    sized = [p.properties(width=width, height=height, title=title) for p, title in panels]
    chart = alt.vconcat(
        *(alt.hconcat(*sized[row : row + 2]).resolve_scale(color="independent") for row in (0, 2))
    ).resolve_scale(color="independent")
    store.write_text(path, vl_convert.vegalite_to_svg(chart.to_dict()))


def _data(frame: pd.DataFrame) -> Any:
    import altair as alt

    return alt.Data(values=json.loads(frame.to_json(orient="records")))


def by_hour(folder: Path) -> pd.DataFrame:
    """Return the share of events in each local hour, for people and bots."""
    events = pd.read_parquet(folder / "events.parquet", columns=["account_id", "at"])
    accounts = pd.read_parquet(folder / "accounts.parquet").set_index("account_id")
    role = pd.read_parquet(folder / "account_truth.parquet").set_index("account_id")["role"]
    offset = events["account_id"].map(accounts["utc_offset_hours"])
    who = events["account_id"].map(role).isin(BOTS).map({True: "bots", False: "people"})
    hour = ((events["at"].dt.hour + offset) % 24).rename("hour")
    counts = events.groupby([who.rename("who"), hour]).size()
    return (counts / counts.groupby("who").transform("sum")).rename("share").reset_index()


def by_chance(folder: Path, posts: pd.DataFrame) -> pd.DataFrame:
    """Return how the rows spread over P(violating | text): all posts, and each source's labels."""
    labels = pd.read_parquet(folder / "labels.parquet").merge(
        posts[["post_id", "p_text"]], on="post_id"
    )
    kinds = {"all posts": posts["p_text"]}
    kinds |= {str(source): rows["p_text"] for source, rows in labels.groupby("source")}
    edges = np.linspace(0, 1, 11)
    return pd.concat(
        pd.DataFrame(
            {
                "chance": (edges[1:] + edges[:-1]) / 2,
                "share": np.histogram(chance, edges)[0] / len(chance),
                "rows": name,
            }
        )
        for name, chance in kinds.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--accounts", type=int, default=4000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=10_000, help="rows to train and to test on")
    parser.add_argument("--no-models", action="store_true", help="simulate only")
    parser.add_argument("--figure", type=Path, help="SVG to draw")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "platform"
        begin, begin_cpu = time.perf_counter(), time.process_time()
        story = simulate(folder, World(accounts=asked.accounts, days=asked.days), asked.seed)
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows = {name: table["rows"] for name, table in story["tables"].items()}
        figures: dict[str, Any] = {
            "benchmark": "simulator",
            "accounts": asked.accounts,
            "days": asked.days,
            "seed": asked.seed,
            "rows": rows,
            "mib": round(sum(p.stat().st_size for p in folder.iterdir()) / 2**20, 1),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "peak_mib": round(peak_mib),
            "ceiling": story["ceiling"],
            "digest": story["digest"],
            "year": live_a_year(asked.seed),
        }
        print_table(["table", "rows"], [[name, f"{n:,}"] for name, n in rows.items()])
        print(f"{seconds:.1f} s, {cpu_seconds:.1f} s of CPU, peak {peak_mib:.0f} MiB")
        year = figures["year"]
        print(f"a year week by week: {year['posts']:,} posts, {year['cpu_seconds']} s of CPU\n")
        posts = read_posts(folder)
        if asked.figure:
            draw(asked.figure, folder, posts, story)
        if not asked.no_models:
            course = weekly(posts)
            print_table(
                ["week", *course.columns],
                [
                    [str(week), f"{row['posts']:,.0f}", *(f"{v:.3f}" for v in row.iloc[1:])]
                    for week, row in course.iterrows()
                ],
            )
            figures["models"] = compare_models(posts, asked.days, asked.rows)
            print_models(figures["models"])
    print(json.dumps(figures))


def read_posts(folder: Path) -> pd.DataFrame:
    """Return posts beside their truth, with the day of each."""
    posts = pq.read_table(folder / "posts.parquet").to_pandas()
    joined = posts.merge(pd.read_parquet(folder / "truth.parquet"), on="post_id")
    return joined.assign(day=(joined["created_at"] - START).dt.days)


def print_models(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    settings = list(next(iter(models.values())))
    columns = ["average_precision", *(f"recall_at_{floor:g}" for floor in FLOORS)]
    headings = ["scores"]
    headings += [f"{setting}: {name.replace('_', ' ')}" for setting in settings for name in columns]
    body = [
        [name, *(f"{of[setting][column]:.3f}" for setting in settings for column in columns)]
        for name, of in models.items()
    ]
    print_table(headings, body)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the paragraphs of the description and show the defaults."""


if __name__ == "__main__":
    main()
