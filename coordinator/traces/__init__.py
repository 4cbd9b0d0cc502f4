"""Read the traces of a run, match the records of the two ends of each edge, and show the result."""
