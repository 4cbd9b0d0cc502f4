"""Launchers start agents somewhere: ssh, Slurm, Ray."""
