"""Traces, message recordings, and the instruments around a stage."""
