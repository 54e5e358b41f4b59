"""Alembic migrations; applied by ``hub.storage.db`` when a database is opened."""
