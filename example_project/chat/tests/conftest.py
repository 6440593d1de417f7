"""Who is in the chat, and where."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from chat.models import Room


@pytest.fixture
def ada(db: None) -> User:
    """A member."""
    return User.objects.create_user("ada")


@pytest.fixture
def bob(db: None) -> User:
    """Another one."""
    return User.objects.create_user("bob")


@pytest.fixture
def lobby(db: None) -> Room:
    """A room, where nothing was said yet."""
    return Room.objects.create(slug="lobby")
