"""From a snapshot's columns to a feature matrix."""
