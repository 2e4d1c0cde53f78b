"""Algorithms, and the bundle that serves one."""
