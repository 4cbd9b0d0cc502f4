"""Sockets of a worker, shared memory, windows and number formats of edges."""
