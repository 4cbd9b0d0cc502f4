"""The control socket of a run: `dni status`, `dni stop` and `dni revoke` reach the run here."""
