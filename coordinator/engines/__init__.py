"""Engines: what runs the workers of a pipeline, in processes or in this process."""
