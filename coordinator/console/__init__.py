"""What a person reads on a terminal: standard streams, columns, JSON, commands to copy."""
