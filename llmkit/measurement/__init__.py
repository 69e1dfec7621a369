"""Timing with spread, and the machine's own limits."""
