"""The child process that runs the retrain pipeline by ``kfp.local``.

Its standard output is KFP's own log, which `pipelines.local` follows; the pipeline's outputs go
to a JSON file. It is a process of its own because ``kfp.local`` keeps global state, patches
``print`` and can only be interrupted from outside.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path


def main() -> None:
    """Run the pipeline with the arguments in a JSON file and write where its outputs are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--arguments", type=Path, required=True)
    parser.add_argument("--artifacts", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--outputs", type=Path, required=True)
    options = parser.parse_args()

    from kfp import dsl, local

    from pipelines.retrain import build_retrain
    from tidegate.store import write_json

    # KFP announces cache hits through the root logger, which is silent by default.
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s - %(levelname)s - %(message)s"
    )
    # The image is what a cluster runs; here the same code runs in this environment.
    warnings.filterwarnings("ignore", category=RuntimeWarning, message=".*base image.*")
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=options.artifacts,
        enable_caching=True,
        cache_root=options.cache,
    )
    # What steps of several runs share beside the steps' own cache (tidegate.features.embedding).
    os.environ.setdefault("TIDEGATE_EMBEDDINGS", str(Path(options.cache).parent / "embeddings"))
    task = build_retrain(options.image)(**json.loads(options.arguments.read_text()))
    outputs = {
        name: value.path if isinstance(value, dsl.Artifact) else value
        for name, value in task.outputs.items()
    }
    write_json(options.outputs, outputs)


if __name__ == "__main__":
    main()
