"""The part that starts a pipeline, watches it, records it and ends it."""
