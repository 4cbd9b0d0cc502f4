"""What is done with a pipeline without training: check, evaluate, replay."""
