"""The trainer: turns data into an unsigned bundle. TensorFlow stays in ``pipeline``.

This file imports nothing: ``trainer --help`` must not load TensorFlow.
"""
