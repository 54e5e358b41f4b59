"""Alembic's entry: run the migrations on the connection that ``hub.storage.db`` gives.

The caller owns the transaction, so a migration that fails leaves nothing behind
(SQLite's schema changes are transactional too, once the driver does not interfere).
"""

from alembic import context

from hub.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
