"""The server as a process of its own, and the rows it is asked about."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

ROOT = Path(__file__).resolve().parents[3]
ROW = {"text": "win a free prize", "age": 3, "lang": "en"}
ROWS = [ROW, {"text": "lunch at noon", "age": None, "lang": None}]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "default",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tidegate.serving", *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Server:
    def __init__(self, bundle, settings=None, max_rows=4):
        self.port, self.grpc_port = free_port(), free_port()
        self.process = start(
            *("--bundle", bundle, "--port", self.port, "--grpc-port", self.grpc_port),
            *("--max-rows", max_rows, "--settings", json.dumps(settings or {})),
        )
        self.ports = (self.port, self.grpc_port)
        self.announced = self.process.stdout.readline()
        self.started = time.monotonic()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)

    def stop(self):
        """End it; return its exit code and what it wrote to its error output."""
        self.http.close()
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def v1(self, instances):
        return self.http.post("/v1/models/toy:predict", json={"instances": instances})

    def v2(self, inputs, **more):
        return self.http.post("/v2/models/toy/infer", json={"inputs": inputs, **more})


def infer(server, **changed):
    contents = {
        "text": ("BYTES", pb.InferTensorContents(bytes_contents=[ROW["text"].encode()])),
        "age": ("FP64", pb.InferTensorContents(fp64_contents=[3.0])),
        "lang": ("BYTES", pb.InferTensorContents(bytes_contents=[b"en"])),
    } | changed
    request = pb.ModelInferRequest(
        model_name="toy",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=name, datatype=datatype, shape=[1], contents=values
            )
            for name, (datatype, values) in contents.items()
        ],
    )
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
