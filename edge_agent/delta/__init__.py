"""Patches from one model file to another: applied by devices, built by hub and trainer.

Pure: bytes in, bytes out. Devices need :mod:`edge_agent.delta.apply` only.
"""
