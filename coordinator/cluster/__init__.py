"""Runs whose workers live on several machines: who may join, who does what, and the way there."""
