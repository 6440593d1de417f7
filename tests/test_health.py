"""``health.py``: what a load balancer is told."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from wsconsumer import serving
from wsconsumer.health import ready

urlpatterns = [path("ready/", ready)]

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def draining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process be one that is going to stop."""
    monkeypatch.setattr(serving, "_draining", True)


def test_ready() -> None:
    """A process that takes websockets says so, and the answer is kept nowhere."""
    response = Client().get("/ready/")
    assert (response.status_code, response.content) == (200, b"ready\n")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("draining")
def test_draining(caplog: pytest.LogCaptureFixture) -> None:
    """One that is going to stop says that, and it is no error of the site."""
    caplog.set_level(logging.INFO)
    response = Client().get("/ready/")
    assert (response.status_code, response.content) == (503, b"draining\n")
    assert response["Cache-Control"] == "no-store"
    assert caplog.messages == []


async def test_async() -> None:
    """It is an ordinary view."""
    assert (await AsyncClient().head("/ready/")).status_code == 200


def test_a_site_for_members_only() -> None:
    """A load balancer has no account."""
    assert ready.login_required is False  # type: ignore[attr-defined]  # as Django marks views
    name = f"{LoginRequiredMiddleware.__module__}.{LoginRequiredMiddleware.__qualname__}"
    with override_settings(
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            name,
        ]
    ):
        assert Client().get("/ready/").status_code == 200


def test_other_methods() -> None:
    """It answers GET and HEAD."""
    assert Client().post("/ready/").status_code == 405
