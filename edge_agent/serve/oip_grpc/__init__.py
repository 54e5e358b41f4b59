"""The Open Inference Protocol, version 2, over gRPC: an extra, ``shoal[grpc]``.

The only place that imports gRPC and protobuf; the worker imports it where the
configuration asks for it. What a request means is decided where HTTP's are: the same
readers, the same models behind the same port.
"""
