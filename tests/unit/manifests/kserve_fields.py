"""Fields of a document that a generated model of a Kubernetes API does not have."""

import re


def unknown_fields(value, kind, models, path=""):
    """Return the paths that a generated model of a Kubernetes API does not have."""
    if value is None:
        return []
    if inner := re.fullmatch(r"(?:list\[|dict\(str, )(.+)[\])]", kind):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [bad for k, v in items for bad in unknown_fields(v, inner[1], models, f"{path}.{k}")]
    model = next((getattr(module, kind) for module in models if hasattr(module, kind)), None)
    if model is None:
        assert not kind.startswith("V1"), f"no model {kind}"
        return []
    types = {model.attribute_map[field]: kind for field, kind in model.openapi_types.items()}
    bad = [f"{path}.{key}" for key in value.keys() - types.keys()]
    for key in value.keys() & types.keys():
        bad += unknown_fields(value[key], types[key], models, f"{path}.{key}")
    return bad
