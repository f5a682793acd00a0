"""The schema's history: Alembic with hand-written SQL. `python -m migrations` brings a database up to date."""
