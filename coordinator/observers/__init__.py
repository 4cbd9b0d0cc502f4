"""Who is told what happens in a run: the recorder and the terminal."""
