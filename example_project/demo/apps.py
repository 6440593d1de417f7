"""The sockets of the example project, and the page that talks to them."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "demo"
