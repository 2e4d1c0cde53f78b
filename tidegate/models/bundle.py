"""Everything that serves, in one folder, nothing pickled: written whole, checked when loaded."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tidegate import store
from tidegate.errors import BadInput
from tidegate.features.blocks import Blocks
from tidegate.features.featurizer import Featurizer
from tidegate.models.interface import BINARY, Model, Scores
from tidegate.models.target import score_of
from tidegate.records import BundleManifest, Column, DecisionRule, Params, Target

FORMAT = 1
DRIFT_REFERENCE = "drift_reference.parquet"
PROBE_TOLERANCE = 1e-6
_MANIFEST = "bundle.json"
_FEATURIZER, _MODEL = "featurizer", "model"
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "xgboost", "xgboost-cpu")
# What makes two bundles the same: everything but when, where and under what name they were made.
_NOT_CONTENT = {"name", "version", "created_at", "libraries", "probe_scores", "source_digest"}
_ADDED = ("rule", "history", "rules_before")
_VERSION_DIGITS = 12
#: Rules of a year, renewed every day.
_RULES_TOLD = 400
_PROBE_ROWS = 4
_PROBE_TERMS = 40


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: from rows to P(violating).

    Parameters
    ----------
    manifest : BundleManifest
        The contract: inputs, threshold, version.
    featurizer : Featurizer
        Fitted on the training rows.
    model : Model
        The fitted classifier.
    """

    manifest: BundleManifest
    featurizer: Featurizer
    model: Model

    def score(self, frame: Any) -> Scores:
        """Return P(violating) of every row of a frame, shape (rows,).

        Raises
        ------
        BadInput
            If an input column is missing.
        """
        return score_of(self.manifest.target, self.outputs(frame))

    def outputs(self, frame: Any) -> Scores:
        """Return the probabilities of every row of a frame, shape (rows, outputs of the target).

        Raises
        ------
        BadInput
            If an input column is missing.
        """
        if len(frame) == 0:
            return np.zeros((0, len(self.manifest.target.outputs)))
        return self._probabilities(self.featurizer.transform(frame))

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return P(violating) of every row, without pandas; an absent key is a missing cell."""
        return score_of(self.manifest.target, self.output_rows(rows))

    def output_rows(self, rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return the probabilities of every row, without pandas, shape (rows, outputs)."""
        if not rows:
            return np.zeros((0, len(self.manifest.target.outputs)))
        return self._probabilities(self.features_of(rows))

    def features_of(self, rows: Sequence[Mapping[str, Any]]) -> Blocks:
        """Return the features of rows, without pandas; an absent key is a missing cell."""
        return self.featurizer.transform(
            {column.name: [row.get(column.name) for row in rows] for column in self.manifest.inputs}
        )

    def _probabilities(self, X: Blocks) -> Scores:
        return np.asarray(self.model.predict_proba(X), dtype=np.float64)

    def project(self, frame: Any) -> npt.NDArray[np.float32]:
        """Return the rows as the drift check sees them, shape (rows, components)."""
        return self.featurizer.project(frame)


def write_bundle(
    folder: Path,
    *,
    name: str,
    algorithm: str,
    params: Params,
    model: Model,
    featurizer_folder: Path,
    columns: Sequence[Column],
    snapshot_digest: str,
    source_digest: str = "",
    target: Target = BINARY,
    drift_reference: Any | None = None,
    history: Sequence[str] = (),
) -> BundleManifest:
    """Write a bundle that has no threshold yet, whole or not at all.

    Parameters
    ----------
    folder : Path
        Where the bundle goes; an older one is replaced.
    name : str
        The model's name, as in the configuration.
    algorithm : str
        Name in the catalogue of algorithms, which loads the model again.
    params : mapping
        Hyperparameters the model was trained with.
    model : Model
        The fitted classifier.
    featurizer_folder : Path
        What `Featurizer.save` wrote; copied.
    columns : sequence of Column
        The input schema.
    snapshot_digest, source_digest : str
        The data it learned from, and the bytes that these were read from.
    target : Target
        What the model's outputs mean.
    drift_reference : DataFrame, optional
        Rows that the drift check compares with, from `tidegate.models.watched`.
    history : sequence of str
        Inputs that a new account has none of.
    """
    with store.new_directory(folder) as scratch:
        shutil.copytree(featurizer_folder, scratch / _FEATURIZER)
        (scratch / _MODEL).mkdir()
        model.save(scratch / _MODEL)
        if drift_reference is not None:
            store.write_table(scratch / DRIFT_REFERENCE, drift_reference)
        return _write_manifest(
            scratch,
            BundleManifest(
                name=name,
                version="",
                format=FORMAT,
                created_at=_now(),
                algorithm=algorithm,
                params=params,
                inputs=tuple(columns),
                target=target,
                history=tuple(history),
                threshold=None,
                min_precision=None,
                confidence=None,
                snapshot_digest=snapshot_digest,
                source_digest=source_digest,
                files=_file_digests(scratch),
                libraries=_library_versions(),
                probe_scores=_probe_scores(
                    columns, target, Featurizer.load(featurizer_folder), model
                ),
            ),
        )


def with_decision_rule(
    source: Path,
    target: Path,
    *,
    threshold: float | None,
    min_precision: float,
    confidence: float,
    rule: DecisionRule | None = None,
) -> BundleManifest:
    """Copy a bundle and give it the rule that evaluation chose, or say there is no threshold.

    Parameters
    ----------
    source, target : Path
        An existing bundle, and where the new one goes (the same folder replaces it).
    threshold : float or None
        Rows that score at or above it are flagged; None when no cut keeps the promise.
    min_precision, confidence : float
        The promise the threshold was chosen for.
    rule : DecisionRule, optional
        What is served beside it; nothing without one.

    Raises
    ------
    BadInput
        If `source` is no whole bundle, or the rule names outputs that its model does not have.
    """
    manifest, rule = read_manifest(source), rule or DecisionRule()
    strange = sorted(set(rule.class_thresholds) - set(manifest.target.outputs))
    if strange:
        raise BadInput(
            str(source),
            f"has no output {strange[0]!r}, for which the rule has a threshold",
            "evaluate this bundle's own scores",
        )
    # What evaluation gives the first rule has served nobody.
    before = () if manifest.min_precision is None else manifest.same_scores
    with store.new_directory(target) as scratch:
        for file in manifest.files:
            (scratch / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, scratch / file)
        return _write_manifest(
            scratch,
            manifest.model_copy(
                update={
                    "created_at": _now(),
                    "threshold": threshold,
                    "min_precision": min_precision,
                    "confidence": confidence,
                    "rule": rule,
                    "rules_before": before[-_RULES_TOLD:],
                }
            ),
        )


def load_bundle(folder: Path) -> Bundle:
    """Check every file of a bundle against its digest and load it.

    Raises
    ------
    BadInput
        If a file is missing, was changed or does not belong, if the manifest is of another
        format, if the algorithm is not installed, or if the bundle scores its probe rows
        otherwise than when it was written.
    """
    from tidegate.models.catalogue import load_model

    manifest = read_manifest(folder)
    model = load_model(manifest.algorithm, folder / _MODEL)
    featurizer = Featurizer.load(folder / _FEATURIZER)
    now = _probe_scores(manifest.inputs, manifest.target, featurizer, model)
    then = manifest.probe_scores
    # Digests prove the files; only scores prove the code that reads them.
    if len(now) != len(then) or not np.allclose(now, then, rtol=0, atol=PROBE_TOLERANCE):
        raise BadInput(
            str(folder),
            "scores its probe rows otherwise than when it was written",
            "serve it with the versions that wrote it, or run the pipeline again",
        )
    return Bundle(manifest, featurizer, model)


def read_manifest(folder: Path) -> BundleManifest:
    """Read a bundle's manifest and check every file against it, without loading the model.

    Raises
    ------
    BadInput
        If a file is missing, was changed or does not belong, or if the manifest is of another
        format.
    """
    manifest = _parsed_manifest(folder / _MANIFEST)
    mend = "copy the bundle again or run the pipeline again"
    for file, digest in manifest.files.items():
        if not (folder / file).is_file():
            raise BadInput(str(folder / file), "is missing from the bundle", mend)
        if store.digest_file(folder / file) != digest:
            raise BadInput(str(folder / file), "differs from its digest in bundle.json", mend)
    for part in (_FEATURIZER, _MODEL):
        for path in sorted((folder / part).rglob("*")):
            if path.is_file() and path.relative_to(folder).as_posix() not in manifest.files:
                raise BadInput(str(path), "is not in bundle.json", "remove it")
    return manifest


def _probe_scores(
    columns: Sequence[Column], target: Target, featurizer: Featurizer, model: Model
) -> tuple[float, ...]:
    """Score a few rows that the bundle makes of its own feature names, and one empty row."""
    names = featurizer.feature_names()
    terms = [name.rsplit(":", 1)[-1] for name in names[:: max(1, len(names) // _PROBE_TERMS)]]
    values: dict[str, list[Any]] = {
        "text": [*(" ".join(terms[row::_PROBE_ROWS]) for row in range(_PROBE_ROWS)), ""],
        "numeric": [*map(float, range(_PROBE_ROWS)), None],
        "categorical": [*terms[:_PROBE_ROWS], *[None] * (_PROBE_ROWS - len(terms)), None],
    }
    X = featurizer.transform({column.name: values[column.kind] for column in columns})
    return tuple(float(score) for score in score_of(target, model.predict_proba(X)))


def _parsed_manifest(path: Path) -> BundleManifest:
    mend = "name a run's bundle/ folder, or run the pipeline again"
    try:
        document = store.read_json(path)
    except FileNotFoundError:
        raise BadInput(str(path), "there is no such file, so no bundle", mend) from None
    except ValueError:
        raise BadInput(str(path), "is not JSON", mend) from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise BadInput(
            str(path),
            f"bundle format must be {FORMAT}, got {found!r}",
            "serve it with the version of Tidegate that wrote it",
        )
    try:
        manifest = BundleManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}: {key}", first["msg"], mend) from None
    if manifest.version != _version_of(manifest):
        raise BadInput(str(path), f"was changed after version {manifest.version}", mend)
    return manifest


def _write_manifest(folder: Path, manifest: BundleManifest) -> BundleManifest:
    manifest = manifest.model_copy(update={"version": _version_of(manifest)})
    store.write_record(folder / _MANIFEST, manifest)
    return manifest


def _version_of(manifest: BundleManifest) -> str:
    content = manifest.model_dump(mode="json", exclude=_NOT_CONTENT)
    for field in _ADDED:
        # A bundle of before there was the field keeps its version.
        if getattr(manifest, field) == BundleManifest.model_fields[field].default:
            del content[field]
    return store.digest_json(content)[:_VERSION_DIGITS]


def _file_digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): store.digest_file(path) for path in files}


def _library_versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
