"""``edge-agent infer --output``: a file of samples in, a table of answers out."""
