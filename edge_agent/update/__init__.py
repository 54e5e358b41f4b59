"""Activation of releases: from a signed assignment to a committed model, or back.

``states`` holds the table, ``machine`` the pure step, ``runner`` the journal; the
other modules carry out one phase each.
"""
