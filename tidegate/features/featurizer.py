"""Snapshot columns to blocks of features, fitted on training rows and restored without pickles."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tidegate import store
from tidegate.config import CleaningConfig, FeatureConfig
from tidegate.errors import BadInput
from tidegate.features.blocks import TERMS, Blocks, Places
from tidegate.features.catalogue import transformer, transformers
from tidegate.features.cleaning import VERSION, clean
from tidegate.features.interface import ColumnTransformer
from tidegate.features.recent import Reusing
from tidegate.records import Column, FeatureBlock

FORMAT = 3
_PROJECTION_FILE = "projection.npz"
# Rows that the projection is fitted on, spread evenly over training; more only cost time.
_MAX_PROJECTION_ROWS = 5000

#: A pandas frame, or a plain mapping from column name to values.
Table = Any


@dataclass(frozen=True)
class Block:
    """One transformer fitted on one column."""

    column: str
    transformer: str
    fitted: ColumnTransformer

    @property
    def name(self) -> str:
        """Column and transformer, unique within a featurizer."""
        return f"{self.column}:{self.transformer}"


class Featurizer:
    """Fitted transformers side by side, and a projection of their features for the drift check.

    Parameters
    ----------
    columns : tuple of Column
        The columns it reads.
    blocks : tuple of Block
        In the order of the feature matrix.
    projection : ndarray of shape (components, features of `TERMS`) or Path
        The projection, or the file it is read from when first needed.
    cleaning : CleaningConfig
        What is undone in texts first.
    cleaned_rows : mapping of str to int
        Training rows that each rule changed, by ``column:rule``; empty once restored.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        blocks: tuple[Block, ...],
        projection: npt.NDArray[np.float32] | Path,
        cleaning: CleaningConfig,
        cleaned_rows: Mapping[str, int] | None = None,
    ) -> None:
        self._cleaning = cleaning
        self.cleaned_rows = dict(cleaned_rows or {})
        self.columns = columns
        self._fitted = {block.name: block for block in blocks}
        self._projection = projection
        self.blocks = tuple(
            FeatureBlock(
                name=block.name,
                column=block.column,
                family=transformer(block.transformer).family,
                width=len(block.fitted.get_feature_names_out()),
            )
            for block in blocks
        )

    @classmethod
    def fit(
        cls,
        frame: Table,
        columns: Sequence[Column],
        y: npt.NDArray[np.int8],
        config: FeatureConfig,
    ) -> "Featurizer":
        """Fit every transformer of the catalogue on the columns of its kind.

        Parameters
        ----------
        frame : DataFrame
            The training rows.
        columns : sequence of Column
            Columns that become features, in the order of their blocks.
        y : ndarray of shape (rows,)
            Labels, 1 for violating.
        config : FeatureConfig
            Bounds of the vocabularies and of the projection.

        Raises
        ------
        BadInput
            If a column is missing or nothing at all becomes a feature.
        """
        if len(y) == 0:
            raise BadInput("features", "there are no training rows", "check data.split")
        changed: dict[str, int] = {}
        read = _Reader(frame, columns, config.cleaning, changed)
        blocks = tuple(
            Block(column.name, record.name, unfitted.fit(read(column.name, record.raw), y))
            for column in columns
            for record in transformers()
            if record.modality == column.kind
            for unfitted in (record.build(config),)
            if unfitted is not None
        )
        nowhere = np.zeros((0, 0), dtype=np.float32)
        featurizer = cls(tuple(columns), blocks, nowhere, config.cleaning)
        # Frozen embeddings and counts of characters always exist, also of nothing.
        learned = [b for b in featurizer.blocks if b.family not in ("embedding", "statistics")]
        if not any(block.width for block in learned):
            raise BadInput(
                "features",
                f"the training rows of {', '.join(c.name for c in columns) or 'no column'} "
                "give no feature",
                f"no term occurs in min_rows_with_term={config.min_rows_with_term} rows: "
                "lower it, give more rows, or name other columns under data.text",
            )
        sample = np.unique(np.linspace(0, len(y) - 1, _MAX_PROJECTION_ROWS).astype(np.int64))
        X = featurizer.transform(frame.iloc[sample]).csr(TERMS)
        projection = _fit_projection(X, config.projection_components)
        return cls(tuple(columns), blocks, projection, config.cleaning, changed)

    @property
    def feature_count(self) -> int:
        """Features of all blocks together."""
        return sum(block.width for block in self.blocks)

    def transform(self, frame: Table) -> Blocks:
        """Return the rows' features; what no model asks for is never computed.

        Parameters
        ----------
        frame : DataFrame or mapping of str to sequence
            Holds at least `columns`; a missing cell is None, NaN or the empty text.
        """
        column_values = _Reader(frame, self.columns, self._cleaning)

        def read(block: FeatureBlock) -> Any:
            found = self._fitted[block.name]
            raw = transformer(found.transformer).raw
            return found.fitted.transform(column_values(block.column, raw))

        def texts() -> dict[str, Sequence[str]]:
            return {
                column.name: column_values(column.name)
                for column in self.columns
                if column.kind == "text"
            }

        def narrowed(places: Places) -> Blocks:
            def read_some(block: FeatureBlock) -> Any:
                found = self._fitted[block.name]
                values = column_values(block.column, transformer(found.transformer).raw)
                return found.fitted.transform(_at(values, places))

            return Blocks(len(places), self.blocks, read_some, texts)

        rows = len(column_values(self.columns[0].name, raw=True))
        return Blocks(rows, self.blocks, read, texts, narrowed)

    def reusing(self) -> dict[str, Reusing]:
        """Return the blocks by name that can be given a cache of their rows; silent ones not."""
        widths = {block.name: block.width for block in self.blocks}
        return {
            name: block.fitted
            for name, block in self._fitted.items()
            if widths[name] and isinstance(block.fitted, Reusing)
        }

    def feature_names(self) -> list[str]:
        """Return ``column:transformer:feature`` for every feature, in order."""
        return [
            f"{block.name}:{name}"
            for block in self._fitted.values()
            for name in block.fitted.get_feature_names_out()
        ]

    def feature_name(self, block: FeatureBlock, place: int) -> str:
        """Return ``column:transformer:feature`` of one feature of a block."""
        return f"{block.name}:{self._fitted[block.name].fitted.get_feature_names_out()[place]}"

    def project(self, frame: Table) -> npt.NDArray[np.float32]:
        """Return the rows in the few directions that explain training best.

        Returns
        -------
        ndarray of shape (rows, components)
            Coordinates along the leading right singular vectors of the training features
            (latent semantic analysis; Deerwester et al., 1990).
        """
        projected: npt.NDArray[np.float32] = self.transform(frame).csr(TERMS) @ self._components().T
        return projected

    def _components(self) -> npt.NDArray[np.float32]:
        if isinstance(self._projection, Path):
            self._projection = _read_arrays(self._projection)["components"]
        return self._projection

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs: JSON for lists and numbers, npz for arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, block in enumerate(self._fitted.values()):
            values, arrays = block.fitted.state()
            store.write_json(folder / f"{_stem(number, block.transformer)}.json", values)
            _write_arrays(folder / f"{_stem(number, block.transformer)}.npz", arrays)
        _write_arrays(folder / _PROJECTION_FILE, {"components": self._components()})
        manifest = {
            "format": FORMAT,
            "cleaning": {"version": VERSION, **self._cleaning.model_dump()},
            "columns": [column.model_dump() for column in self.columns],
            "blocks": [[block.column, block.transformer] for block in self._fitted.values()],
        }
        store.write_json(folder / "featurizer.json", manifest)

    @classmethod
    def load(cls, folder: Path) -> "Featurizer":
        """Restore what `save` wrote; the projection is read when first needed.

        Raises
        ------
        BadInput
            If the folder holds no featurizer of this format, or one whose transformer is not
            installed.
        """
        path = folder / "featurizer.json"
        if not path.is_file():
            raise BadInput(str(folder), "featurizer.json is missing", "name a run's featurizer")
        manifest = store.read_json(path)
        if manifest.get("format") != FORMAT:
            raise BadInput(
                str(path),
                f"format must be {FORMAT}, got {manifest.get('format')!r}",
                "use the version of Tidegate that wrote it",
            )
        rules = dict(manifest["cleaning"])
        if (found := rules.pop("version")) != VERSION:
            raise BadInput(
                str(path),
                f"cleaning version must be {VERSION}, got {found!r}",
                "use the version of Tidegate that wrote it",
            )
        blocks = []
        for number, (column, name) in enumerate(manifest["blocks"]):
            values = store.read_json(folder / f"{_stem(number, name)}.json")
            arrays = _read_arrays(folder / f"{_stem(number, name)}.npz")
            blocks.append(Block(column, name, transformer(name).restore((values, arrays))))
        columns = tuple(Column.model_validate(column) for column in manifest["columns"])
        cleaning = CleaningConfig.model_validate(rules)
        return cls(columns, tuple(blocks), folder / _PROJECTION_FILE, cleaning)


class _Reader:
    """Columns of a table, each text column cleaned when first asked for."""

    def __init__(
        self,
        frame: Table,
        columns: Sequence[Column],
        cleaning: CleaningConfig,
        changed: dict[str, int] | None = None,
    ) -> None:
        self._values = {column.name: _values(frame, column.name) for column in columns}
        self._texts = {column.name for column in columns if column.kind == "text"}
        self._cleaning, self._changed = cleaning, changed
        self._cleaned: dict[str, Sequence[str]] = {}

    def __call__(self, column: str, raw: bool = False) -> Sequence[Any]:
        """Return the column, as it came if `raw`."""
        if raw or column not in self._texts:
            return self._values[column]
        if column not in self._cleaned:
            counts: dict[str, int] = {}
            self._cleaned[column] = clean(self._values[column], self._cleaning, counts)
            if self._changed is not None:
                self._changed.update({f"{column}:{rule}": n for rule, n in counts.items()})
        return self._cleaned[column]


def _at(values: Any, places: Places) -> Sequence[Any]:
    """Return some values of a column, whether it is a list or of a frame."""
    if hasattr(values, "iloc"):
        return cast(Sequence[Any], values.iloc[places])
    return [values[int(place)] for place in places]


def _values(frame: Table, column: str) -> Sequence[Any]:
    try:
        values: Sequence[Any] = frame[column]
    except KeyError:
        raise BadInput(f"column {column!r}", "is not in the table", "add it") from None
    return values


def _fit_projection(X: Any, components: int) -> npt.NDArray[np.float32]:
    from sklearn.utils.extmath import randomized_svd

    # The solver of scikit-learn's TruncatedSVD, without the ratios of variance that it divides.
    _, _, directions = randomized_svd(X, min(components, *X.shape), n_iter=5, random_state=0)
    return np.ascontiguousarray(directions, dtype=np.float32)


def _stem(number: int, transformer_name: str) -> str:
    return f"block_{number:02d}_{transformer_name}"


def _write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    store.write_bytes(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
