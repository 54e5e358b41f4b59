"""Releases: intake of bundles, keys, TUF metadata, publication."""
