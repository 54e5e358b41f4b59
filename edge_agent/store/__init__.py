"""What the device keeps on disk: outbox, slots and journal (SQLite), artifacts (files).

Supervisor and worker open the same database (WAL, one connection a thread). Nothing
here knows of MQTT, TUF or models.
"""
