"""Chat rooms on groups: a room is a group, and what is said in it is kept in the database."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
