"""Small sockets, and a page that talks to them."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "demo"
