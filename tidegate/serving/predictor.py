"""The predictor: a bundle behind KServe's V1 and V2 (Open Inference) protocols."""

import asyncio
import logging
import struct
import traceback
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

import kserve
import numpy as np
import numpy.typing as npt
from kserve.protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse
from prometheus_client import Counter, Histogram

from tidegate.models.target import score_of
from tidegate.records import BundleManifest
from tidegate.serving.schema import (
    Reason,
    RequestRefused,
    Row,
    Tensor,
    rows_from_instances,
    rows_from_tensors,
)

logger = logging.getLogger(__name__)

NO_THRESHOLD = "this version has no threshold: it scores rows and flags none"

_LABELS = ("model_name", "model_version")
_SCORE_BUCKETS = tuple(round(i / 20, 2) for i in range(1, 21))
_REQUESTS = Counter("tidegate_requests", "Answered requests.", (*_LABELS, "protocol"))
_ROWS = Counter("tidegate_scored_rows", "Rows that were scored.", _LABELS)
_FLAGGED = Counter("tidegate_flagged_rows", "Rows at or above the threshold.", _LABELS)
_SCORES = Histogram("tidegate_score", "Scores given.", _LABELS, buckets=_SCORE_BUCKETS)
_REJECTED = Counter(
    "tidegate_rejected_requests", "Requests that broke the schema.", (*_LABELS, "reason")
)


class Scorer(Protocol):
    """What the predictor needs of a bundle."""

    @property
    def manifest(self) -> BundleManifest:
        """Name, version, input columns and threshold."""

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """Return the score of each row, shape (rows,)."""

    def output_rows(self, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
        """Return all outputs of each row, shape (rows, outputs of the manifest's target)."""


class ScoringFailed(Exception):
    """The model failed on a request that kept the schema: a defect, never the client's fault."""


class ModerationPredictor(kserve.Model):  # type: ignore[misc]
    """Scores rows and flags those at or above the bundle's threshold.

    V1: ``{"instances": [{"text": "…"}]}`` is answered by ``{"predictions": [{"score",
    "flagged", "threshold", "model_version"}]}``. V2, over REST and gRPC: one tensor a column
    is answered by ``score`` (FP64), ``flagged`` (BOOL), both of shape [rows], ``threshold``
    (FP64, shape [1]) and ``model_version``. A model of classes or of several tasks adds the
    probability of each: ``probabilities`` by name in V1, one FP64 tensor
    ``probability_OUTPUT`` an output in V2.

    A bundle without a threshold (its evaluation ended in a hold) may be served, for shadow and
    review: ``flagged`` and ``threshold`` are then null in V1 and absent in V2, where the
    response's parameter ``notice`` says why.

    Parameters
    ----------
    bundle : Scorer
        A loaded bundle; loading has checked its digests.
    name : str, optional
        Name in the URL; the bundle's own without it.
    max_rows : int
        Most rows of one request.
    """

    def __init__(self, bundle: Scorer, *, name: str | None = None, max_rows: int = 1024) -> None:
        super().__init__(name or bundle.manifest.name)
        self._bundle = bundle
        self._max_rows = max_rows
        self.version = bundle.manifest.version
        labels = (self.name, self.version)
        self._rows, self._flagged = _ROWS.labels(*labels), _FLAGGED.labels(*labels)
        self._scores = _SCORES.labels(*labels)
        # One thread of its own: a large request delays other rows, but never a health check.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")

    def load(self) -> bool:
        """Score one row, so that the first request pays for no lazy set-up; then be ready.

        Raises
        ------
        ScoringFailed
            If the warm-up row cannot be scored.
        """
        row: Row = {c.name: 0.0 if c.kind == "numeric" else "" for c in self.inputs}
        self._score([row])
        self.ready = True
        return self.ready

    def start(self) -> None:
        """Leave readiness to `load`: the server calls this on every model, loaded or not."""

    def validate(self, payload: object) -> object:
        """Leave the checks to `predict`, which names field and reason."""
        return payload

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Input columns of the bundle."""
        return self._bundle.manifest.inputs

    def count_rejected(self, reason: Reason) -> None:
        """Count a refused request in ``/metrics``."""
        _REJECTED.labels(self.name, self.version, reason).inc()

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the inputs."""
        return [
            {"name": c.name, "datatype": "FP64" if c.kind == "numeric" else "BYTES", "shape": [-1]}
            for c in self.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the outputs."""
        names = ["score", *(f"probability_{name}" for name in self._output_names)]
        scores = [{"name": name, "datatype": "FP64", "shape": [-1]} for name in names]
        if self._bundle.manifest.threshold is None:
            return scores
        return [
            *scores,
            {"name": "flagged", "datatype": "BOOL", "shape": [-1]},
            {"name": "threshold", "datatype": "FP64", "shape": [1]},
        ]

    async def predict(
        self, payload: object, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Answer one request.

        Raises
        ------
        RequestRefused
            If the request breaks the input schema.
        ScoringFailed
            If the model fails on a request that keeps it.
        """
        protocol: Literal["v1", "v2"] = "v2" if isinstance(payload, InferRequest) else "v1"
        try:
            rows = self._checked_rows(payload)
        except RequestRefused as refusal:
            self.count_rejected(refusal.reason)
            raise
        loop = asyncio.get_running_loop()
        scores, outputs = await loop.run_in_executor(self._executor, self._score, rows)
        threshold = self._bundle.manifest.threshold
        flagged = None if threshold is None else scores >= threshold
        self._count(protocol, scores, flagged)
        if isinstance(payload, InferRequest):
            return self._v2_response(payload, scores, flagged, outputs)
        return {
            "predictions": [
                {
                    "score": float(score),
                    "flagged": None if flagged is None else bool(flagged[i]),
                    "threshold": threshold,
                    "model_version": self.version,
                }
                | self._probabilities(outputs, i)
                for i, score in enumerate(scores)
            ]
        }

    @property
    def _output_names(self) -> tuple[str, ...]:
        """What is told beside the score; nothing of two classes, whose score says it all."""
        target = self._bundle.manifest.target
        return () if target.kind == "binary" else target.outputs

    def _probabilities(self, outputs: npt.NDArray[np.float64], row: int) -> dict[str, Any]:
        if not self._output_names:
            return {}
        return {"probabilities": dict(zip(self._output_names, outputs[row].tolist(), strict=True))}

    def _checked_rows(self, payload: object) -> list[Row]:
        if isinstance(payload, InferRequest):
            tensors = [_tensor(tensor) for tensor in payload.inputs]
            return rows_from_tensors(tensors, self.inputs, max_rows=self._max_rows)
        if not isinstance(payload, dict) or "instances" not in payload:
            raise RequestRefused("missing_field", "instances", "is required: a list of objects")
        return rows_from_instances(payload["instances"], self.inputs, max_rows=self._max_rows)

    def _score(self, rows: list[Row]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the score of each row and what is told beside it, shape (rows, outputs)."""
        outputs = np.empty((len(rows), 0))
        try:
            if self._output_names:
                outputs = np.asarray(self._bundle.output_rows(rows), dtype=np.float64)
                scores = score_of(self._bundle.manifest.target, outputs)
            else:
                scores = np.asarray(self._bundle.score_rows(rows), dtype=np.float64)
        except Exception as error:
            # A library's message may quote the row, so only its type and place are logged.
            place = "".join(traceback.format_tb(error.__traceback__))
            logger.error("scoring failed with %s\n%s", type(error).__name__, place)
            raise ScoringFailed("the model failed on this request") from error
        finite = np.isfinite(scores).all() and np.isfinite(outputs).all()
        if scores.shape != (len(rows),) or not finite:
            logger.error("the model gave %s scores for %d rows", scores.shape, len(rows))
            raise ScoringFailed("the model gave no finite score for every row")
        return scores, outputs

    def _count(
        self,
        protocol: Literal["v1", "v2"],
        scores: npt.NDArray[np.float64],
        flagged: npt.NDArray[np.bool_] | None,
    ) -> None:
        _REQUESTS.labels(self.name, self.version, protocol).inc()
        self._rows.inc(len(scores))
        if flagged is not None:
            self._flagged.inc(int(flagged.sum()))
        for score in scores.tolist():
            self._scores.observe(score)

    def _v2_response(
        self,
        request: InferRequest,
        scores: npt.NDArray[np.float64],
        flagged: npt.NDArray[np.bool_] | None,
        probabilities: npt.NDArray[np.float64],
    ) -> InferResponse:
        shape = [len(scores)]
        outputs = [InferOutput("score", shape, "FP64", scores.tolist())]
        outputs += [
            InferOutput(f"probability_{name}", shape, "FP64", column.tolist())
            for name, column in zip(self._output_names, probabilities.T, strict=True)
        ]
        if flagged is not None:
            outputs.append(InferOutput("flagged", shape, "BOOL", flagged.tolist()))
            threshold = [self._bundle.manifest.threshold]
            outputs.append(InferOutput("threshold", [1], "FP64", threshold))
        return InferResponse(
            response_id=request.id or str(uuid.uuid4()),
            model_name=self.name,
            model_version=self.version,
            infer_outputs=outputs,
            parameters=None if flagged is not None else {"notice": NO_THRESHOLD},
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


def _tensor(given: InferInput) -> Tensor:
    """Read one tensor of KServe's, whether it came as JSON, typed contents or raw bytes."""
    where = f"inputs.{given.name}"
    content_type = (given.parameters or {}).get("content_type")
    if content_type == "base64":
        raise RequestRefused("wrong_type", where, "content_type base64 is not read; send text")
    shape = [int(size) for size in given.shape]
    if given._raw_data is None:
        return Tensor(given.name, given.datatype, shape, given.data or [])
    try:
        values = given.as_numpy().reshape(-1).tolist()
    except (ArithmeticError, LookupError, TypeError, ValueError, struct.error):
        raise RequestRefused(
            "wrong_shape", where, f"its bytes are not {given.datatype} of shape {shape[:8]}"
        ) from None
    return Tensor(given.name, given.datatype, shape, values)
