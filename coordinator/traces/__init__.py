"""What became of each message of a run: read, put together, and shown."""
