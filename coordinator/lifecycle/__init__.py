"""The state machine of a run, its event loop, and a run from folder to summary."""
