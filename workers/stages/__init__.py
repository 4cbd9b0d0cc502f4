"""A node of the pipeline's graph: the layer, the source, their credits and counts."""
