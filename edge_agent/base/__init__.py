"""What all three programs stand on: clock, logging, settings, TLS, exit codes.

Standard library and msgspec only. Together with :mod:`edge_agent.wire` and
:mod:`edge_agent.sketch` this is all that hub and trainer import of the device.
"""
