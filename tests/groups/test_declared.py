"""Declared groups: their names, their options, and which of them are not told apart."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import Error

from wsconsumer import Group, group_checks
from wsconsumer.groups import declared
from wsconsumer.groups.declared import declared as find
from wsconsumer.groups.declared import kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django import Settings


@pytest.fixture(autouse=True)
def _nothing_declared() -> Iterator[None]:
    with declared.only():
        yield


def test_a_name_is_made_of_values() -> None:
    """The template with its values is an ordinary name; numbers are written as they are."""
    assert Group("room.{slug}")(slug="lobby") == "room.lobby"
    assert Group("shop-{shop_id}.order.{pk}")(shop_id=7, pk=12) == "shop-7.order.12"
    assert Group("news")() == "news"


def test_a_group_is_found_by_its_name() -> None:
    """Whoever writes the name by hand means the same group."""
    room, news = Group("room.{slug}", keep=10), Group("news")
    assert find("room.lobby") is room
    assert find("news") is news
    assert kept("room.lobby") is room
    assert kept("news") is None
    for name in ("room.", "room", "room.a.b", "rooms.a", "xroom.a", "news.a", ""):
        assert find(name) is None


def test_without_declarations_nothing_is_looked_for() -> None:
    """Undeclared groups keep nothing."""
    assert kept("room.lobby") is None


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({}, TypeError, r"Group\('room.{slug}'\) takes slug=, got nothing"),
        ({"slug": "a", "pk": 1}, TypeError, "takes slug=, got slug=, pk="),
        ({"slug": ""}, ValueError, "can't take slug='': a value has at least one character"),
        ({"slug": "a.admin"}, ValueError, "can't take slug='a.admin'"),
        ({"slug": "a\n"}, ValueError, "1 to 200 printable characters"),
        ({"slug": "x" * 200}, ValueError, "1 to 200 printable characters"),
    ],
)
def test_a_value_that_can_be_no_name(
    values: dict[str, Any], error: type[Exception], text: str
) -> None:
    """A value that would make the name of another group, or none, is refused."""
    with pytest.raises(error, match=text):
        Group("room.{slug}")(**values)


def test_a_group_without_placeholders_takes_nothing() -> None:
    """The error says so."""
    with pytest.raises(TypeError, match="takes nothing, got slug="):
        Group("news")(slug="a")


@pytest.mark.parametrize(
    ("template", "options", "error", "text"),
    [
        (7, {}, TypeError, "expects a template such as 'room.{slug}', got 7"),
        ("room.{", {}, ValueError, "a brace without its other half"),
        ("room.}", {}, ValueError, "a brace without its other half"),
        ("room.{}", {}, ValueError, "the placeholder '{}'"),
        ("room.{0}", {}, ValueError, "the placeholder '{0}'"),
        ("{a}.{a}", {}, ValueError, "Each one is a name of its own"),
        ("{a}{b}", {}, ValueError, "two placeholders in a row"),
        ("", {}, ValueError, "1 to 200 printable characters"),
        ("room.{slug}", {"keep": "5"}, TypeError, "expects keep to be an int, got '5'"),
        ("room.{slug}", {"keep": True}, TypeError, "expects keep to be an int, got True"),
        ("room.{slug}", {"keep": -1}, ValueError, "expects keep from 0 to 10,000, got -1"),
        ("room.{slug}", {"keep": 10_001}, ValueError, "expects keep from 0 to 10,000"),
        ("room.{slug}", {"seconds": 0}, ValueError, "expects seconds from 1 to 86,400, got 0"),
        ("room.{slug}", {"seconds": 90_000}, ValueError, "expects seconds from 1 to 86,400"),
        ("room.{slug}", {"keep": 5, "resume": 0}, TypeError, "expects resume to be True or False"),
        ("room.{slug}", {"resume": False}, ValueError, "has resume=False without keep="),
    ],
)
def test_a_declaration_that_can_not_be(
    template: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """What is wrong with a template or an option is said at once."""
    with pytest.raises(error, match=text):
        Group(template, **options)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("room.{a}", "room.lobby", True),
        ("room.{a}", "{b}.lobby", True),
        ("room.{a}", "room.{b}", True),
        ("room.{a}", "room.{b}.x", False),
        ("a{x}", "b{y}", False),
        ("a{x}", "{y}b", True),
        ("a{x}c", "ac", False),
        ("a{x}c", "abbc", True),
        ("{a}-{b}", "{c}", True),
        ("{a}", "x.y", False),
        ("ab{c}", "a{d}", True),
        ("a{d}", "a", False),
        ("news", "news", True),
        ("news", "new", False),
    ],
)
def test_overlaps(one: str, other: str, overlap: bool, settings: Settings) -> None:
    """E009: two templates that some name fits both, whichever was declared first."""
    for pair in ((one, other), (other, one)):
        with declared.only():
            groups = [Group(template) for template in pair]
            found = group_checks.check_declared_groups()
            assert [problem.id for problem in found] == ["wsconsumer.E009"] * overlap
            for problem in found:
                assert f"{groups[0]!r} and {groups[1]!r} overlap" in problem.msg


def test_a_backend_that_can_not_keep(settings: Settings) -> None:
    """E010: keep= needs a backend that keeps."""
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "tests.groups.forgetful.ForgetfulBackend"}}
    Group("news")
    assert group_checks.check_declared_groups() == []
    Group("room.{slug}", keep=5)
    (problem,) = group_checks.check_declared_groups()
    assert isinstance(problem, Error)
    assert problem.id == "wsconsumer.E010"
    assert "ForgetfulBackend, can't keep" in problem.msg
    settings.WSCONSUMER = {"GROUPS": {"BACKEND": "no.such.Backend"}}
    assert group_checks.check_declared_groups() == []  # E006 says what is wrong
    settings.WSCONSUMER = {}
    assert group_checks.check_declared_groups() == []


def test_a_group_that_some_processes_miss() -> None:
    """W010: what keeps belongs in realtime.py of an app, or only some publishers keep."""
    Group("room.{slug}", keep=5)
    declared.discover()
    assert group_checks.check_places_of_groups() == []
    Group("news")
    late = Group("late.{slug}", keep=5)
    (problem,) = group_checks.check_places_of_groups()
    assert problem.id == "wsconsumer.W010"
    assert problem.msg.startswith(f"{late!r} is declared with keep=, but not where every process")
    assert "Declare it in realtime.py of an app in INSTALLED_APPS." in str(problem.hint)


def test_realtime_modules_are_found(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``realtime.py`` of each installed app is imported, as ``admin.py`` is."""
    app = tmp_path / "an_app_with_groups"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "realtime.py").write_text(
        "from wsconsumer import Group\n\nroom = Group('found.{slug}', keep=3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "an_app_with_groups"]
    declared.discover()
    found = kept("found.a")
    assert found is not None
    assert found.keep == (3, 300)
    assert [group.template for group in declared.declared_groups()] == ["found.{slug}"]
    for name in ("an_app_with_groups.realtime", "an_app_with_groups"):
        del sys.modules[name]
