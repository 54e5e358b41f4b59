"""The Open Inference Protocol, version 2: the interface that clients exist for.

Pure: ``datatypes``, ``messages``, ``request``, ``response`` (tensors and messages to
bytes and back), ``http1`` (requests out of a byte stream), ``metrics`` (the text that
Prometheus reads). Shell: ``http_server`` (sockets, threads, deadlines). Between them
``routes`` decides what a request means and asks a :class:`~.port.Models`, which the
worker is; gRPC asks the same one through the same decoders.
"""
