"""The command that writes a synthetic platform."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    accounts: Annotated[int, typer.Option(help="how many accounts, at least 50")] = 4000,
    days: Annotated[int, typer.Option(help="how many days, at least 7")] = 90,
    seed: Annotated[int, typer.Option(help="same seed, same bytes")] = 0,
) -> None:
    """Write a synthetic platform: accounts, posts, graph, reports, appeals, drift."""
    from tidegate.data.simulate import World, simulate

    story = simulate(output, World(accounts=accounts, days=days), seed)
    rows = {name.removesuffix(".parquet"): table["rows"] for name, table in story["tables"].items()}
    ceiling = story["ceiling"]
    typer.echo(
        f"{rows['posts']:,} posts of {rows['accounts']:,} accounts in {days} days, "
        f"{ceiling['prevalence']:.1%} violating, {rows['training']:,} labelled"
    )
    for drift in story["parameters"]["drifts"]:
        typer.echo(f"{drift['kind']} drift from day {drift['day']}, size {drift['size']:g}")
    typer.echo(
        f"ceiling of the average precision: {ceiling['text']:.3f} from one text alone, "
        f"{ceiling['everything']:.3f} when its author is known"
    )
    typer.echo(f"wrote {output}; next: tidegate run {output / 'config.yaml'}")
