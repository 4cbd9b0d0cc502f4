"""Who worked when, and which message went where: a stretch of a run as a person would draw it."""
