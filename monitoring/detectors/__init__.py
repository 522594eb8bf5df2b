"""Detectors that look at more than one column of a window: inputs taken together, and errors in the order of time."""
