"""Alerts: one row an incident, from observation to resolution."""
