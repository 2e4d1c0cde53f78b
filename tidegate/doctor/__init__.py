"""What is missing here or on the cluster, and how to mend it."""
