"""From scored tables to a decision."""
