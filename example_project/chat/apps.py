"""Chat rooms on groups: each room is a group, and its messages are kept in the database."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
