"""A browser on the pages of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import Client
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from selenium.webdriver import Chrome

    from wsconsumer.test.live import LiveServer


def visit(browser: Chrome, server: LiveServer, path: str, user: User | None = None) -> None:
    """Show a page, to a user who has logged in."""
    browser.get(f"{server.url}/static/nothing")  # a page of the site, to give the cookie to
    browser.delete_all_cookies()
    if user is not None:
        client = Client()
        client.force_login(user)
        browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    browser.get(server.url + path)


def until(browser: Chrome, script: str, expected: Any) -> None:
    """Wait until a script returns what is expected."""
    seen = object()

    def is_so(_: object) -> bool:
        nonlocal seen
        seen = browser.execute_script(script)
        return bool(seen == expected)

    try:
        WebDriverWait(browser, 20, poll_frequency=0.02).until(is_so)
    except Exception as error:
        log = browser.get_log("browser")
        raise AssertionError(f"{seen!r} is not {expected!r}; the console: {log}") from error


def texts(selector: str) -> str:
    """Return a script that returns the texts of all elements of a kind."""
    return f"return [...document.querySelectorAll('{selector}')].map((e) => e.textContent)"


def submit(browser: Chrome, form: str, text: str) -> None:
    """Say something in a form, again until there is a connection, which resets the form."""
    script = f"""
        const form = document.querySelector('{form}');
        form.elements.text.value = {text!r};
        form.requestSubmit();
        return form.elements.text.value;
    """
    until(browser, script, "")
