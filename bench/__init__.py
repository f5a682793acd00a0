"""Measurements: `make bench`. Ratios and counts of one run; nothing here is asserted."""
