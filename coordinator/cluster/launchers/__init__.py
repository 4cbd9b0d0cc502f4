"""Launchers start the agents of a run on other hosts: ssh, Slurm, Ray."""
