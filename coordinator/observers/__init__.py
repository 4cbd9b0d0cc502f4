"""Observers receive the events of a run: the recorder and the displays on a terminal."""
