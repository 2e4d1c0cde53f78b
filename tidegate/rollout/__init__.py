"""Which bundle is in service."""
