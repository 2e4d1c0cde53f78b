"""The simulated year as a picture: precision, recall and retrains of every policy by week."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.data.simulate import World

_COLOURS = {"none": "#999999", "monthly": "#cc8800", "weekly": "#bb3333", "tidegate": "#1155cc"}


def draw(years: Mapping[str, Any], world: World, path: Path, *, floor: float, warm_up: int) -> None:
    """Write an SVG with one line a policy."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "year"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(9, 8), sharex=True)
    for name, year in years.items():
        weeks = [week["week"] for week in year["weeks"]]
        for axis, value in zip(axes, ("precision", "recall", "retrains"), strict=True):
            heights = [
                float("nan") if week[value] is None else week[value] for week in year["weeks"]
            ]
            axis.plot(weeks, heights, color=_COLOURS[name], label=name, linewidth=1.4)
            axis.set_ylabel(value)
    axes[0].axhline(floor, color="black", linewidth=0.8, linestyle="--")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        for drift in world.schedule:
            axis.axvline(drift.day / 7 - warm_up + 1, color="#cccccc", linewidth=0.8, zorder=0)
    for drift in world.schedule:
        axes[0].text(
            drift.day / 7 - warm_up + 1,
            1.02,
            f"{drift.kind} {drift.size:g}",
            transform=axes[0].get_xaxis_transform(),
            fontsize=7,
        )
    axes[2].set_xlabel("week")
    axes[0].legend(loc="lower left", fontsize=8, ncols=4, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
