"""Has the world moved since training."""
