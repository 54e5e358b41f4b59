"""Requests for as long as it takes: ``scripts/torture --requests N``."""
