"""The server as a client meets it over gRPC."""

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.local.server.process import ROW, infer


def test_grpc_answers_with_the_same_score(server, expected):
    scores, manifest = expected
    answer = infer(server)
    outputs = {o.name: o.contents for o in answer.outputs}
    assert list(outputs["score"].fp64_contents) == pytest.approx([scores[0]], abs=1e-9)
    assert list(outputs["flagged"].bool_contents) == [True]
    assert list(outputs["threshold"].fp64_contents) == [0.5]
    assert answer.model_version == manifest.version


def test_grpc_answers_raw_tensors_with_raw_tensors(server, expected):
    text = ROW["text"].encode()
    raw = [len(text).to_bytes(4, "little") + text, np.float64(3).tobytes(), b"\2\0\0\0en"]
    inputs = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=[1])
        for name, datatype in (("text", "BYTES"), ("age", "FP64"), ("lang", "BYTES"))
    ]
    request = pb.ModelInferRequest(model_name="toy", inputs=inputs, raw_input_contents=raw)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert np.frombuffer(answer.raw_output_contents[0])[0] == pytest.approx(expected[0][0])


def test_grpc_does_not_know_another_model(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(pb.ModelReadyRequest(name="toy"), timeout=10).ready
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(pb.ModelInferRequest(model_name="nobody"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"text": ("BYTES", pb.InferTensorContents(bytes_contents=[b"\xff"]))}, "inputs.text"),
        ({"age": ("FP64", pb.InferTensorContents(fp64_contents=[float("nan")]))}, "inputs.age"),
        ({"age": ("FP64", pb.InferTensorContents())}, "holds 0 values"),
        ({"more": ("FP64", pb.InferTensorContents(fp64_contents=[1]))}, "inputs.more"),
        ({"age": ("FP99", pb.InferTensorContents(fp64_contents=[1]))}, "invalid content type"),
    ],
)
def test_grpc_refuses_with_invalid_argument(server, changed, says):
    with pytest.raises(grpc.RpcError) as refused:
        infer(server, **changed)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in refused.value.details()
