"""The folder of a run: its layout, how a command finds it, how a run creates it, how it is read."""
