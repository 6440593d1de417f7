"""
The backend for projects that have PostgreSQL and want nothing else: LISTEN and NOTIFY.

Read ``backend.py`` first, then ``payload.py`` for what travels.
"""

from .backend import PostgresBackend

__all__ = ["PostgresBackend"]
