"""Mergeable, bounded summaries of what a model sees and says (numpy only).

The device fills them, the hub merges and compares them, and the trainer builds the
reference with this very code. Merging is addition: exact, in any order.
"""
