"""An answer as V1 and V2 spell it; what both say, and in which order."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.records import BundleManifest
from tidegate.serving.judge import Answered
from tidegate.serving.request import ROW_ID, Asked

NO_THRESHOLD = "this version has no threshold: it scores rows and flags none"

#: Name, datatype and values, or None where they are as many as the rows.
Output = tuple[str, str, list[Any]]


def predictions(
    manifest: BundleManifest, names: Sequence[str], asked: Asked, answered: Answered
) -> list[dict[str, Any]]:
    """Return the ``predictions`` of V1, an object a row.

    Parameters
    ----------
    names : sequence of str
        Outputs that are told beside the score.
    """
    decisions, actions = answered.decisions, answered.actions
    told = []
    for row, score in enumerate(answered.scores):
        decision = None if decisions is None else decisions[row]
        entry: dict[str, Any] = {
            "score": score,
            "decision": decision,
            "action": None if actions is None else actions[row],
            "flagged": None if decision is None else decision == "flagged",
            "threshold": answered.thresholds[row],
            "model_version": manifest.version,
            "path": answered.paths[row],
        }
        if asked.ids is not None:
            entry["id"] = asked.ids[row]
        if answered.answered_scores is not None:
            entry["answered_score"] = answered.answered_scores[row]
        if names:
            entry["probabilities"] = dict(zip(names, answered.outputs[row].tolist(), strict=True))
        if answered.classes is not None:
            entry["classes"] = answered.classes[row]
        if answered.reasons is not None:
            entry["reasons"] = answered.reasons[row]
        told.append(entry)
    return told


def outputs(names: Sequence[str], asked: Asked, answered: Answered) -> list[Output]:
    """Return the output tensors of V2; ``threshold`` has one value where all rows share it.

    What is null in V1 is absent here: tensors have no null.
    """
    found: list[Output] = [("score", "FP64", answered.scores)]
    if answered.answered_scores is not None:
        found.append(("answered_score", "FP64", answered.answered_scores))
    for name, column in zip(names, answered.outputs.T, strict=True):
        found.append((f"probability_{name}", "FP64", column.tolist()))
    if answered.decisions is not None and answered.actions is not None:
        found.append(("flagged", "BOOL", [d == "flagged" for d in answered.decisions]))
        cuts = answered.thresholds
        if all(cut is not None for cut in cuts):
            found.append(("threshold", "FP64", cuts[:1] if len(set(cuts)) == 1 else list(cuts)))
        found.append(("decision", "BYTES", answered.decisions))
        found.append(("action", "BYTES", answered.actions))
    found.append(("path", "BYTES", list(answered.paths)))
    if asked.ids is not None:
        found.append((ROW_ID, "BYTES", list(asked.ids)))
    if answered.classes is not None:
        found.append(("classes", "BYTES", [json.dumps(named) for named in answered.classes]))
    if answered.reasons is not None:
        found.append(("reasons", "BYTES", [json.dumps(why) for why in answered.reasons]))
    return found


def output_types(manifest: BundleManifest, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the outputs that every answer of V2 has, as its metadata spell them."""
    rule = manifest.rule
    scores = ["score"]
    if rule.scale is not None or rule.calibration is not None:
        scores.append("answered_score")
    scores += [f"probability_{name}" for name in names]
    found = [{"name": name, "datatype": "FP64", "shape": [-1]} for name in scores]
    cuts = (manifest.threshold, rule.review_threshold, *rule.segment_thresholds.values())
    if any(cut is not None for cut in cuts):
        found.append({"name": "flagged", "datatype": "BOOL", "shape": [-1]})
        if manifest.threshold is not None:
            shape = [-1] if rule.segment_thresholds else [1]
            found.append({"name": "threshold", "datatype": "FP64", "shape": shape})
        found += [{"name": n, "datatype": "BYTES", "shape": [-1]} for n in ("decision", "action")]
    texts = ["path", *(["classes"] if rule.class_thresholds else [])]
    return [*found, *({"name": name, "datatype": "BYTES", "shape": [-1]} for name in texts)]


def v2_document(
    name: str,
    version: str,
    request_id: str | None,
    found: Sequence[Output],
    parameters: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return a V2 response as KServe's endpoint writes it, every key in its order."""
    return {
        "model_name": name,
        "model_version": version,
        "id": request_id or str(uuid.uuid4()),
        "parameters": parameters,
        "outputs": [
            {
                "name": output,
                "shape": [len(values)],
                "datatype": datatype,
                "parameters": None,
                "data": values,
            }
            for output, datatype, values in found
        ],
    }
