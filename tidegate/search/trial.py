"""One trial: learn on train, measure on validation, keep the model. The holdout is never read.

``python -m tidegate.search.trial`` is the same trial as a Katib job: its hyperparameters are words
``name=value``, and every report is a line that Katib's StdOut collector reads.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from tidegate import store
from tidegate.config import QuantizeConfig
from tidegate.errors import BadInput
from tidegate.features.blocks import Blocks
from tidegate.features.matrices import load_features
from tidegate.models.catalogue import algorithm as find_algorithm
from tidegate.models.interface import (
    Algorithm,
    Device,
    Evaluation,
    Labels,
    NotEnoughTime,
    Setting,
    Weights,
)
from tidegate.models.quality import measured
from tidegate.models.target import labels_of, score_of
from tidegate.records import (
    WEIGHT,
    CurvePoint,
    FeatureSet,
    Params,
    SplitName,
    Target,
    TrialResult,
)
from tidegate.search.curve import curve_verdict
from tidegate.search.medianstop import StopRule
from tidegate.search.serving_cost import serving_ms
from tidegate.search.space import parse_words

#: What a model scored the validation rows, beside the model: an ensemble is chosen by them.
VALIDATION_SCORES = "validation.npy"
#: All its outputs of the same rows, where they are more than two classes.
VALIDATION_OUTPUTS = "validation_outputs.npy"
#: Katib's collector must find the trial's process while it lives.
_SHORTEST_JOB_SECONDS = 2.0


#: The learning curve as it comes, one point a line; ``result.json`` follows at the end.
CURVE = "curve.jsonl"


class TrialStopped(Exception):
    """Raised by a report to end a trial that the stop rule gave up."""


@dataclass(frozen=True)
class Rows:
    """What a trial reads of a split."""

    X: Blocks
    y: Labels
    weight: Weights
    target: Target


def run_trial(
    features_folder: Path,
    algorithm: Algorithm,
    params: Params,
    *,
    number: int = 0,
    setting: Setting,
    out: Path,
    report: Callable[[CurvePoint], None],
    stop_rule: StopRule | None = None,
    most_reports: int | None = None,
) -> TrialResult:
    """Train one model and leave it in ``out/model``.

    Parameters
    ----------
    features_folder : Path
        What `tidegate.records.FeatureSet` describes; its train and validation files are read.
    setting : Setting
        Its `seconds` are for the whole trial: the model is told what reading the rows left of
        them, and the target of the feature set.
    report : callable
        Gets every point of the learning curve as it comes.
    stop_rule : StopRule, optional
        Ends the trial early; it then leaves no model.
    most_reports : int, optional
        Ends the trial at this report of its curve, likewise.

    Returns
    -------
    TrialResult
        ``succeeded`` with the validation's average precision and log-loss of the final model, or
        ``early_stopped`` with the figures last reported, or ``out_of_time`` when the model saw
        that `setting.seconds` are too few.
    """
    started = time.monotonic()
    train, validation = (read_rows(features_folder, split) for split in ("train", "validation"))
    target = train.target
    curve: list[CurvePoint] = []

    def observe(point: CurvePoint) -> None:
        _require_finite(point.validation_average_precision, point.validation_log_loss)
        curve.append(point)
        report(point)
        if stop_rule and stop_rule.stops([p.validation_average_precision for p in curve]):
            raise TrialStopped
        if len(curve) == most_reports:
            raise TrialStopped

    read = time.monotonic() - started
    left = None if setting.seconds is None else max(1.0, setting.seconds - read)
    model = algorithm.build(params, replace(setting, target=target, seconds=left))
    evaluation = Evaluation(validation.X, validation.y, validation.weight, observe)
    try:
        model.fit(train.X, train.y, train.weight, evaluation)
    except NotEnoughTime as reason:
        return TrialResult(
            number=number,
            algorithm=algorithm.name,
            params=params,
            status="out_of_time",
            seconds=time.monotonic() - started,
            error=str(reason),
        )
    except TrialStopped:
        return TrialResult(
            number=number,
            algorithm=algorithm.name,
            params=params,
            status="early_stopped",
            average_precision=curve[-1].validation_average_precision,
            log_loss=curve[-1].validation_log_loss,
            curve=tuple(curve),
            seconds=time.monotonic() - started,
            verdict=curve_verdict(curve),
        )
    outputs = model.predict_proba(validation.X)
    reached, loss = measured(target, validation.y, outputs, validation.weight)
    _require_finite(reached, loss)
    with store.new_directory(out / "model") as folder:
        model.save(folder)
    np.save(out / VALIDATION_SCORES, score_of(target, outputs), allow_pickle=False)
    if target.kind != "binary":
        np.save(out / VALIDATION_OUTPUTS, outputs, allow_pickle=False)
    loaded = algorithm.load(out / "model")
    cost_ms = serving_ms(loaded, validation.X, features_folder)
    return TrialResult(
        number=number,
        algorithm=algorithm.name,
        params=params,
        status="succeeded",
        average_precision=reached,
        log_loss=loss,
        curve=tuple(curve),
        seconds=time.monotonic() - started,
        verdict=curve_verdict(curve),
        serving_ms=cost_ms,
        quantization=getattr(model, "quantization", None),
    )


def _require_finite(*figures: float) -> None:
    if not np.isfinite(figures).all():
        raise ValueError(f"the model's scores are not finite: measured {figures}")


def read_rows(features_folder: Path, split: SplitName) -> Rows:
    """Return one split of a feature set with its labels and weights."""
    target = store.read_record(features_folder / "features.json", FeatureSet).target
    X, roles = load_features(features_folder, split)
    return Rows(
        X=X,
        y=labels_of(target, roles),
        weight=roles[WEIGHT].to_numpy(dtype=np.float64),
        target=target,
    )


def main(arguments: Sequence[str]) -> int:
    """Run one trial as a process of its own; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.search.trial")
    parser.add_argument("--features", type=Path, required=True, help="folder of the feature set")
    parser.add_argument("--algorithm", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for model/ and result.json")
    parser.add_argument("--reports", metavar="N/OF", help="end after N reports; OF is no limit")
    parser.add_argument("--seconds", type=float, help="how long the whole trial may take")
    parser.add_argument("--encoder", help="folder that the algorithm encoder starts from")
    parser.add_argument("--device", choices=get_args(Device), default="auto")
    parser.add_argument("--quantize", type=QuantizeConfig.model_validate_json, metavar="JSON")
    parser.add_argument("--state", type=Path, help="folder that a resumable algorithm goes on from")
    parser.add_argument("words", nargs="*", metavar="name=value", help="hyperparameters")
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        algorithm = find_algorithm(chosen.algorithm)
        words = dict(_split_word(word) for word in chosen.words)
        params = parse_words(algorithm.search_space, words)
        most_reports = _most_reports(chosen.reports)
        setting = Setting(
            seed=chosen.seed,
            threads=chosen.threads,
            seconds=chosen.seconds,
            encoder=chosen.encoder,
            device=chosen.device,
            quantize=chosen.quantize,
            state=chosen.state,
        )
    except BadInput as problem:
        print(problem, file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    with (chosen.out / CURVE).open("w", encoding="utf-8") as curve:

        def report(point: CurvePoint) -> None:
            # Written as it comes: whoever ends this process can still read it.
            curve.write(point.model_dump_json() + "\n")
            curve.flush()
            _tell(point.validation_average_precision, point.validation_log_loss)

        try:
            result = run_trial(
                chosen.features,
                algorithm,
                params,
                setting=setting,
                out=chosen.out,
                report=report,
                most_reports=most_reports,
            )
        except Exception as error:
            failed = TrialResult(
                number=0,
                algorithm=algorithm.name,
                params=params,
                status="failed",
                seconds=time.monotonic() - started,
                error=f"{type(error).__name__}: {error}".strip().splitlines()[-1],
            )
            store.write_record(chosen.out / "result.json", failed)
            raise
    store.write_record(chosen.out / "result.json", result)
    if result.status == "out_of_time":
        print(f"{chosen.seconds:g} s are too few: {result.error}", file=sys.stderr)
        return 1
    _tell(result.average_precision, result.log_loss)
    time.sleep(max(0.0, _SHORTEST_JOB_SECONDS - (time.monotonic() - started)))
    return 0


def _split_word(word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not separator:
        raise BadInput(word, "expected name=value", "write for example C=1.0")
    return name, value


def _most_reports(text: str | None) -> int | None:
    if text is None:
        return None
    reports, separator, whole = text.partition("/")
    if not (separator and reports.isdecimal() and whole.isdecimal() and int(reports) > 0):
        raise BadInput("--reports", f"expected N/OF, got {text!r}", "write for example 3/12")
    return int(reports) if int(reports) < int(whole) else None


def _tell(precision: float | None, loss: float | None) -> None:
    print(f"average_precision={precision:.6f}", flush=True)
    print(f"log_loss={loss:.6f}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
