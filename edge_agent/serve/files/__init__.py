"""Samples in files: CSV, npz and images, read piece by piece."""
