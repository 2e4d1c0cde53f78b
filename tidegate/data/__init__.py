"""From a table of posts to a checked, digested snapshot."""
