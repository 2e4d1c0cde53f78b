"""The predictor: a bundle behind KServe's V1 and V2 (Open Inference) protocols."""

import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from kserve.model import Model
from kserve.protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse

from tidegate.config import ServingConfig
from tidegate.serving.answer import NO_THRESHOLD, output_types, outputs, predictions
from tidegate.serving.batching import Batcher, TimedOut
from tidegate.serving.exploration import Exploration
from tidegate.serving.judge import (
    Answered,
    Explain,
    Judge,
    PayloadSink,
    Router,
    Scorer,
    ScoringFailed,
)
from tidegate.serving.metrics import Metrics
from tidegate.serving.request import Asked, Contract, asked_by_document, asked_by_tensors
from tidegate.serving.schema import Reason, RequestRefused, Row, Tensor

__all__ = ["NO_THRESHOLD", "ModerationPredictor", "ScoringFailed"]

_WARM_UP_WORDS = "a row of some words to warm up with before the first request comes"


class ModerationPredictor(Model):  # type: ignore[misc]
    """Scores rows and says what is to be done with each.

    V1: ``{"instances": [{"text": "…"}]}`` is answered by ``{"predictions": [{"score",
    "decision", "action", "flagged", "threshold", "model_version", "path"}]}``. V2, over REST and
    gRPC: one tensor a column is answered by tensors of the same names, of shape [rows], but
    ``threshold`` (FP64, shape [1]) and ``model_version``. A model of classes or of several tasks
    adds the probability of each: ``probabilities`` by name in V1, one FP64 tensor
    ``probability_OUTPUT`` an output in V2.

    A bundle without a threshold (its evaluation ended in a hold) may be served, for shadow and
    review: ``decision``, ``action``, ``flagged`` and ``threshold`` are then null in V1 and absent
    in V2, where the response's parameter ``notice`` says why.

    Parameters
    ----------
    bundle : Scorer
        A loaded bundle; loading has checked its digests.
    name : str, optional
        Name in the URL; the bundle's own without it.
    config : ServingConfig
        Limits, and which inputs may be absent.
    explain, sink, exploration, router
        As in `Judge`.
    """

    def __init__(
        self,
        bundle: Scorer,
        *,
        name: str | None = None,
        config: ServingConfig | None = None,
        explain: Explain | None = None,
        sink: PayloadSink | None = None,
        exploration: Exploration | None = None,
        router: Router | None = None,
    ) -> None:
        super().__init__(name or bundle.manifest.name)
        self.config = config or ServingConfig()
        self.manifest = bundle.manifest
        self.version = bundle.manifest.version
        self.metrics = Metrics(self.name, self.version)
        history = self.config.history or bundle.manifest.history
        self._contract = Contract(
            bundle.manifest.inputs,
            frozenset(history),
            self.config.max_rows,
            self.config.max_explained_rows,
        )
        self._judge = Judge(
            bundle,
            self.metrics,
            name=self.name,
            history=history,
            explain=explain,
            sink=sink,
            exploration=exploration,
            router=router,
        )
        self._router = router
        self._batcher = self._new_batcher(0.0)

    def _new_batcher(self, row_seconds: float) -> Batcher[Asked, Answered]:
        return Batcher(
            self._judged,
            batch_rows=self.config.batch_rows,
            max_waiting=self.config.max_concurrent,
            timeout_seconds=self.config.timeout_seconds,
            row_seconds=row_seconds,
        )

    def _judged(self, asked: Sequence[Asked]) -> list[Answered]:
        if self._router is not None:
            self._router.feel(self._batcher.in_hand)
        return self._judge.judge(asked)

    def load(self) -> bool:
        """Score a row twice, so that the first request pays for no lazy set-up; then be ready.

        Raises
        ------
        ScoringFailed
            If the warm-up row cannot be scored.
        """
        words: Row = {"text": _WARM_UP_WORDS, "numeric": 0.0, "categorical": ""}
        row: Row = {column.name: words[column.kind] for column in self.inputs}
        self._judge.score([row])
        # Another text: the first one's embedding may be kept, and the time is that of a new row.
        row = {name: f"{v} again" if v == words["text"] else v for name, v in row.items()}
        begun = time.perf_counter()
        if self._router is None:
            self._judge.score([row])
        else:
            # Both models are warm then, and the time of a row is that of one that passes.
            self._router.warm_up([row])
        self._batcher = self._new_batcher(time.perf_counter() - begun)
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
        return self.manifest.inputs

    @property
    def output_names(self) -> tuple[str, ...]:
        """Outputs that are told beside the score."""
        return self._judge.output_names

    @property
    def notice(self) -> dict[str, str] | None:
        """What a V2 response says beside its tensors."""
        types = output_types(self.manifest, ())
        return None if any(t["name"] == "flagged" for t in types) else {"notice": NO_THRESHOLD}

    def count_rejected(self, reason: Reason) -> None:
        """Count a refused request in ``/metrics``."""
        self.metrics.rejected(reason)

    def count_load(self) -> None:
        """Tell ``/metrics`` what is in hand now."""
        self.metrics.load(self._batcher.in_hand, self._batcher.waiting)
        if self._router is not None:
            self.metrics.cascade_load(self._router.load)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the inputs."""
        return [
            {"name": c.name, "datatype": "FP64" if c.kind == "numeric" else "BYTES", "shape": [-1]}
            for c in self.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the outputs that every answer has."""
        return output_types(self.manifest, self.output_names)

    async def predict(
        self, payload: object, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Answer one request.

        Raises
        ------
        RequestRefused
            If the request breaks the input schema, or too many are in hand.
        TimedOut
            If there is no answer in time.
        ScoringFailed
            If the model fails on a request that keeps the schema.
        """
        if isinstance(payload, InferRequest):
            tensors = [_tensor(tensor) for tensor in payload.inputs]
            asked, answered = await self.answer_tensors(tensors, payload.parameters)
            return self._v2_response(payload, asked, answered)
        return await self.answer_document(payload)

    async def answer_document(self, document: object) -> dict[str, Any]:
        """Answer a V1 request; raises as `predict`."""
        try:
            asked = asked_by_document(document, self._contract)
        except RequestRefused as refusal:
            self.count_rejected(refusal.reason)
            raise
        answered = await self._answer(asked)
        told = predictions(self.manifest, self.output_names, asked, answered)
        return {"predictions": told}

    async def answer_tensors(
        self, tensors: Sequence[Tensor], parameters: object
    ) -> tuple[Asked, Answered]:
        """Answer a V2 request; raises as `predict`."""
        try:
            asked = asked_by_tensors(tensors, parameters, self._contract)
        except RequestRefused as refusal:
            self.count_rejected(refusal.reason)
            raise
        return asked, await self._answer(asked)

    async def _answer(self, asked: Asked) -> Answered:
        begun = time.perf_counter()
        try:
            answered = await self._batcher.answer(asked, len(asked.rows), alone=asked.explain)
        except RequestRefused as refusal:
            self.count_rejected(refusal.reason)
            raise
        except TimedOut:
            self.metrics.rejected("timeout")
            raise
        except ScoringFailed:
            self.metrics.failed()
            raise
        self.metrics.answered(asked.protocol, time.perf_counter() - begun)
        return answered

    def _v2_response(
        self, request: InferRequest, asked: Asked, answered: Answered
    ) -> InferResponse:
        return InferResponse(
            response_id=request.id or str(uuid.uuid4()),
            model_name=self.name,
            model_version=self.version,
            infer_outputs=[
                InferOutput(name, [len(values)], datatype, values)
                for name, datatype, values in outputs(self.output_names, asked, answered)
            ],
            parameters=self.notice,
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
