"""The analysis export: one SQLite file with everything that people ask about."""
