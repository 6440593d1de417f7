"""
The app that brings the tables of groups that keep, and of limits of connections.

Groups that keep nothing need none.
"""

from __future__ import annotations

from django.apps import AppConfig


class PostgresGroupsConfig(AppConfig):
    """Has migrations, and neither models nor checks of its own."""

    name = "wsconsumer.groups.postgres"
    label = "wsconsumer_postgres"
    verbose_name = "Groups in PostgreSQL"
