"""The parts that train: layers, the source of batches, data, and the process around them."""
