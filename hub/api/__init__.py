"""The hub over HTTP: artifacts by digest, and health."""
