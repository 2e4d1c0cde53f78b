"""A snapshot to feature matrices."""

from kfp import dsl


@dsl.component(base_image="tidegate", install_kfp_package=False)
def featurize(
    features: str,
    code_digest: str,
    snapshot: dsl.Input[dsl.Dataset],
    feature_set: dsl.Output[dsl.Dataset],
) -> None:
    """Fit the transformers on training rows and transform every split."""
    from pathlib import Path

    from tidegate.config import FeatureConfig
    from tidegate.features.matrices import featurize

    config = FeatureConfig.model_validate_json(features)
    found = featurize(Path(snapshot.path), config, Path(feature_set.path))
    feature_set.metadata["features"] = found.feature_count
