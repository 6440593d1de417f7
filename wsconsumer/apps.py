"""The Django app: add ``"wsconsumer"`` to ``INSTALLED_APPS`` for its checks and commands."""

from __future__ import annotations

from django.apps import AppConfig


class WsconsumerConfig(AppConfig):
    name = "wsconsumer"
    verbose_name = "Websocket consumers"

    def ready(self) -> None:
        from .checks import register_checks
        from .groups.declared import discover
        from .logouts import connect_signals

        discover()
        connect_signals()
        register_checks()
