"""Tidegate: retrain, check and release content-moderation classifiers."""

__version__ = "0.1.0"
