"""How samples and questions reach the worker: local API and replay source.

Nothing here knows models: requests go to a handler, samples to a sink, both given by
the worker.
"""
