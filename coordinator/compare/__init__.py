"""Compare many runs: choose them, run them, and write their results and a plot."""
