"""Signing up, logging in and logging out, for pages and sockets alike."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
