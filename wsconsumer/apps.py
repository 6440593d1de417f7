"""The Django app: add ``"wsconsumer"`` to ``INSTALLED_APPS`` for its checks and commands."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks as registry


class WsconsumerConfig(AppConfig):
    name = "wsconsumer"
    verbose_name = "Websocket consumers"

    def ready(self) -> None:
        from . import checks
        from .groups.declared import discover

        discover()

        registry.register(checks.check_settings, "wsconsumer")
        registry.register(checks.check_asgi_application, "wsconsumer")
        registry.register(checks.check_urlconf, "wsconsumer", registry.Tags.urls)
        registry.register(checks.check_consumers, "wsconsumer", registry.Tags.urls)
        registry.register(checks.check_leftovers, "wsconsumer")
        registry.register(checks.check_daphne, "wsconsumer")
        registry.register(checks.check_runserver, "wsconsumer")
        registry.register(checks.check_groups, "wsconsumer")
        registry.register(checks.check_declared_groups, "wsconsumer")
        registry.register(checks.check_processes, "wsconsumer")
        registry.register(checks.check_pools, "wsconsumer")
        registry.register(checks.check_csrf_trusted_origins, "wsconsumer")
        registry.register(checks.check_functions, "wsconsumer")
        registry.register(
            checks.check_allowed_origins, "wsconsumer", registry.Tags.security, deploy=True
        )
