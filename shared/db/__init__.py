"""The database, the same on SQLite and PostgreSQL: transactions, wake-ups and the shared tables.

    engine      Database: open, read, write, transact
    types rows  values that mean the same on both databases; bulk statements fed by one document
    queue       DueQueue: the row is the queue
    inbox outbox dead idempotency lease limits     what every service keeps
    tables      their tables; migrate, migrations   how they come to be

Statements are SQLAlchemy Core, built once; there are no ORM sessions anywhere.
"""
