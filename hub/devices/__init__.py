"""Devices: who they are, what they shall run, what they really run."""
