"""What Kubeflow runs: one thin typed component a stage."""
