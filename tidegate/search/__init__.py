"""Which algorithm and hyperparameters: trials under a budget."""
