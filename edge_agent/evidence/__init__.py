"""Evidence about a release: this device's own samples, answered by two releases.

:mod:`~edge_agent.evidence.ring` keeps the samples, the paired test has incumbent and
candidate answer them, :mod:`~edge_agent.evidence.statistics` turns pairs into figures,
and :mod:`~edge_agent.evidence.judge` decides: ok, fail or inconclusive.
"""
