"""From batch to database: what is new is committed, then acknowledged."""
