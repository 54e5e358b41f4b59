"""Rollouts: who gets a release when, and what happens if it is bad.

``plan``, ``judge``, ``states`` and ``machine`` are pure; ``facts`` reads what they
need from the database, and ``service`` applies what they decide.
"""
