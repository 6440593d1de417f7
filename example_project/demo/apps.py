"""The one app of the example project."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "demo"
