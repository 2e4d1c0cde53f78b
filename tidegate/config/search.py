"""The search section: which models to try and for how long."""

from typing import Annotated, Literal

from pydantic import Field

from tidegate.config.section import Names, Section


class SearchConfig(Section):
    """Which algorithms to try and for how long."""

    algorithms: Names = ("logistic", "xgboost")
    backend: Literal["local", "katib"] = Field(
        "local", description="where trials run: in the search step itself, or as Katib's trials"
    )
    strategy: Literal["multivariate-tpe", "random", "grid", "hyperband", "pbt"] = "multivariate-tpe"
    minutes: Annotated[float, Field(gt=0)] = 10
    trials: Annotated[int, Field(ge=1)] = 40
    parallel: Annotated[int, Field(ge=1)] = 2
    seed: int = 0
    ensemble_members: Annotated[int, Field(ge=1)] = Field(
        3, description="how many trials may serve together as one model; 1 for a single one"
    )
    median_stop_min_trials: Annotated[int, Field(ge=1)] = 3
    median_stop_start_step: Annotated[int, Field(ge=1)] = 4
