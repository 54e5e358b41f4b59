"""The device: runs models locally, buffers telemetry, follows signed assignments.

This file imports nothing, so that the hub and the trainer can use
:mod:`edge_agent.wire` and :mod:`edge_agent.sketch` without loading the device.
"""
