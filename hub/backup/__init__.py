"""Backups of a hub: made while it serves, verified, restored into a new home."""
