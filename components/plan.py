"""The first step on a cluster: what the data, the code and the model store hold right now."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def plan(config: str, workspace: str) -> NamedTuple(  # type: ignore[valid-type]
    "Plan",
    [
        ("name", str),
        ("config", str),
        ("data", str),
        ("validation", str),
        ("features", str),
        ("search_settings", str),
        ("cluster", str),
        ("policy", str),
        ("baseline", str),
        ("approval", str),
        ("model_store", str),
        ("digests", str),
        ("source_digest", str),
        ("reference_digest", str),
        ("code_digest", str),
        ("run_digest", str),
    ],
):
    """Digest data and code and find the baseline, so that a recurring run sees new rows."""
    from collections import namedtuple
    from pathlib import Path

    from tidegate.config import RunConfig
    from tidegate.plan import plan_retrain

    settings = RunConfig.model_validate_json(config)
    arguments = plan_retrain(settings, Path(workspace) / "models").arguments
    return namedtuple("Plan", arguments)(**arguments)
