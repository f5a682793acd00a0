"""Turns one job into rows: an argv in, a run recorded, the catalogue in step. Knows nothing of who asked."""
