"""Output for people and programs: terminal, standard streams, columns, JSON, shell commands."""
