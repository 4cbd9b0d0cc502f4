"""Stages from a pipeline and its data."""
