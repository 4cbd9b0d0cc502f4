"""Draw the work of each stage and the messages between them over a stretch of time."""
