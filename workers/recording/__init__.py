"""What a worker records: the trace of each stage, and the messages of layers for a replay."""
