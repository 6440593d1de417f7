"""Signing up, logging in and logging out: for the pages, and so for the sockets too."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
