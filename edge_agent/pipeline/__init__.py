"""One sample's path on the device: validate, infer, observe, remember, record.

:class:`~edge_agent.pipeline.path.SamplePath` strings the steps together; the worker
owns it. Nothing here starts a thread or opens a socket.
"""
