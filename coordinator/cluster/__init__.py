"""Runs on several hosts: the head, agents, placement, and the collection of files."""
