"""Drift and performance: from what devices report to what alerts observe."""
