"""Mutated model files: ``scripts/torture --models N``."""
