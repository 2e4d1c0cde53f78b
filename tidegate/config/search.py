"""The search section: which models to try and for how long."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tidegate.config.policy import Mitigation
from tidegate.config.section import Names, Section, Share

_A_YEAR_MINUTES = 365 * 24 * 60.0


def _no_limit_as_a_year(value: object) -> object:
    return _A_YEAR_MINUTES if value is None else value


class QuantizeConfig(Section):
    """Int8 weights for the encoder that serves, where they cost little."""

    max_loss: Annotated[float, Field(ge=0, le=1)] = Field(
        0.005, description="of the validation's average precision; a graph that loses more stays"
    )
    while_learning: bool = Field(
        False, description="round weights and activations during the fine-tuning too"
    )


class SearchConfig(Section):
    """Which algorithms to try and for how long.

    Without `trials` the budget is the minutes, and they are used up. With `trials` it is those,
    in an order that depends on results alone, and the minutes only bound it.
    """

    algorithms: Names = ("logistic", "xgboost")
    backend: Literal["local", "katib"] = Field(
        "local", description="where trials run: in the search step itself, or as Katib's trials"
    )
    strategy: Literal["multivariate-tpe", "random", "grid", "hyperband", "pbt"] = "multivariate-tpe"
    minutes: Annotated[float, Field(gt=0), BeforeValidator(_no_limit_as_a_year)] = Field(
        10, description="everything the search does, its final stage too; null for no limit"
    )
    trials: Annotated[int, Field(ge=1)] | None = Field(
        None, description="null: as many as the minutes hold (with katib and on a grid: 40)"
    )
    parallel: Annotated[int, Field(ge=1)] = 2
    seed: int = 0
    encoder: str | None = Field(
        None,
        description="directory of the encoder that `encoder` fine-tunes: a path, a URI or "
        "package://MODULE/FOLDER; null: the one installed as a package",
    )
    quantize: QuantizeConfig | None = Field(
        None, description="{} turns a trained encoder's weights to int8 where little is lost"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="where nets train; auto: on a GPU when there is one"
    )
    memory_gib: Annotated[float, Field(gt=0)] | None = Field(
        None, description="stops a trial that holds more; null: what its algorithm asks for"
    )
    long_share: Share = Field(
        0.6, description="of the minutes, for the one long trial of an algorithm that plans by time"
    )
    reserve_share: Share = Field(0.05, description="of the minutes, kept for the ensemble's step")
    warm_start: str | None = Field(
        "auto",
        description="run directory or bundle whose best points are tried early; auto: the last "
        "release of other data; null: none",
    )
    refresh: bool = Field(
        False,
        description="no search: the hyperparameters in service, on this run's data; without a "
        "release the search is as configured",
    )
    ensemble_members: Annotated[int, Field(ge=1)] = Field(
        3, description="how many trials may serve together as one model; 1 for a single one"
    )
    max_serving_ms: Annotated[float, Field(gt=0)] | None = Field(
        None, description="most milliseconds that scoring one row may take, members together"
    )
    crossfit_folds: Annotated[int, Field(ge=0)] = Field(
        0, description="score the training rows by models of so many folds; 0: do not"
    )
    distill: bool = Field(False, description="also train a light model on the winner's scores")
    mitigate: tuple[Mitigation, ...] = Field(
        (), description="models trained with the winner's recipe; policy.mitigate sets it"
    )
    median_stop_min_trials: Annotated[int, Field(ge=1)] = 3
    median_stop_start_step: Annotated[int, Field(ge=1)] = 4

    @model_validator(mode="before")
    @classmethod
    def _counted_where_it_must_be(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        counted = value.get("backend") == "katib" or value.get("strategy") in ("grid", "hyperband")
        return {**value, "trials": 40} if counted and value.get("trials") is None else value

    @model_validator(mode="after")
    def _consistent(self) -> "SearchConfig":
        if self.crossfit_folds == 1:
            raise ValueError("crossfit_folds must be 0 or at least 2, got 1; write 5")
        if self.trials is None and self.minutes >= _A_YEAR_MINUTES:
            raise ValueError("minutes and trials are both null; write minutes: 10")
        return self
