"""Turns resources into actions and hands them to a backend. Knows nothing of how a job is done."""
