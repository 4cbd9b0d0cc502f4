"""Tools that use a pipeline without training: check, evaluate, replay."""
