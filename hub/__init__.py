"""The hub: ingests telemetry, watches for drift, signs and rolls out releases.

This file imports nothing: ``hub --help`` must not load a database or a web server.
"""
