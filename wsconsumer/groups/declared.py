"""
Declared groups: kinds of groups with options, found by the name of a group.

What a group keeps must not depend on who broadcasts to it: one publisher that did not know would
make a hole that nobody sees. So a project says it once, in ``realtime.py`` of an app, and every
process that reads its settings knows.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Final, TypeAlias

from django.utils.module_loading import autodiscover_modules

from ..escaping import quote
from .keeping import EPOCH_SECONDS, Keep
from .names import check_group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_KEEP: Final = 10_000
"""Broadcasts that a group may keep: more is a job for a table."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")

_groups: Final[list[Group]] = []


class Group:
    """
    A kind of group, declared once at the top of an app's ``realtime.py``::

        room = Group("room.{slug}", keep=100, seconds=300)

    ``room(slug="lobby")`` is the name ``"room.lobby"``; whoever writes that name by hand means the
    same group with the same options. A placeholder stands for one or more characters, dots aside.

    ``keep``: how many broadcasts are kept for members that come back; 0 for none, at most 10,000.
    ``seconds``: how long they are kept after the last one; at most a day.
    ``resume=False``: number and keep them, but let nobody resume yet, until all processes do so:
    the first of two deploys that add ``keep``.

    Raises ``TypeError`` or ``ValueError`` for what can't be. Two templates that some name would fit
    both are an error of ``manage.py check``.
    """

    is_found = False
    """Whether every process that reads the settings knows it, as ``discover()`` sees to."""

    def __init__(
        self, template: str, *, keep: int = 0, seconds: int = 300, resume: bool = True
    ) -> None:
        self.template = template
        self.names = _placeholders(template)
        self.keep = Keep(
            _check_int(template, "keep", keep, 0, MAX_KEEP),
            _check_int(template, "seconds", seconds, 1, EPOCH_SECONDS),
        )
        self.resume = _check_resume(template, resume, keep)
        parts = _PLACEHOLDER.split(template)
        self._pattern = re.compile(
            "".join(
                "([^.]+)" if is_name else re.escape(part)
                for part, is_name in zip(parts, _alternating(), strict=False)
            )
        )
        _groups.append(self)
        declared.cache_clear()

    def __call__(self, **values: object) -> str:
        """Return the name of the group with these values."""
        if values.keys() != set(self.names):
            expected = ", ".join(f"{name}=" for name in self.names) or "nothing"
            got = ", ".join(f"{name}=" for name in values) or "nothing"
            raise TypeError(f"{self!r} takes {expected}, got {got}.")
        texts = {name: str(value) for name, value in values.items()}
        for name, text in texts.items():
            if not text or "." in text:
                raise ValueError(
                    f"{self!r} can't take {name}={quote(text)}: a value has at least one character "
                    "and no dot, or it could be the name of another group."
                )
        group = self.template.format_map(texts)
        check_group(group)
        return group

    def fits(self, group: str) -> bool:
        """Whether this is the name of a group of this kind."""
        return self._pattern.fullmatch(group) is not None

    @property
    def is_kept(self) -> bool:
        """Whether its groups keep what is broadcast."""
        return self.keep.size > 0

    def __repr__(self) -> str:
        return f"Group({self.template!r})"


def _alternating() -> Iterator[bool]:
    while True:
        yield False
        yield True


def _placeholders(template: object) -> tuple[str, ...]:
    if not isinstance(template, str):
        raise TypeError(
            f"Group() expects a template such as 'room.{{slug}}', got {quote(template)}."
        )
    names = tuple(_PLACEHOLDER.findall(template))
    rest = _PLACEHOLDER.sub("", template)
    if "{" in rest or "}" in rest:
        raise ValueError(f"Group({quote(template)}) has a brace without its other half.")
    for name in names:
        if not name.isidentifier() or names.count(name) > 1:
            raise ValueError(
                f"Group({quote(template)}) has the placeholder {quote('{' + name + '}')}. Each one "
                "is a name of its own, such as {slug}."
            )
    if "}{" in template:
        raise ValueError(
            f"Group({quote(template)}) has two placeholders in a row: nobody could tell where one "
            "value ends. Put something between them."
        )
    check_group(_PLACEHOLDER.sub("x", template))
    return names


def _check_int(template: str, name: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"Group({template!r}) expects {name} to be an int, got {quote(value)}.")
    if not least <= value <= most:
        raise ValueError(
            f"Group({template!r}) expects {name} from {least} to {most:,}, got {quote(value)}."
        )
    return value


def _check_resume(template: str, value: object, keep: int) -> bool:
    if not isinstance(value, bool):
        raise TypeError(
            f"Group({template!r}) expects resume to be True or False, got {quote(value)}."
        )
    if not (value or keep):
        raise ValueError(
            f"Group({template!r}) has resume=False without keep=, and keeps nothing that anybody "
            "could resume. Leave it out, or write keep= too."
        )
    return value


@lru_cache(maxsize=4096)
def declared(group: str) -> Group | None:
    """Return the kind of a group, if it was declared."""
    return next((kind for kind in _groups if kind.fits(group)), None)


def kept(group: str) -> Group | None:
    """Return the kind of a group that keeps, or ``None``."""
    if not _groups:
        return None
    kind = declared(group)
    return kind if kind is not None and kind.is_kept else None


def declared_groups() -> tuple[Group, ...]:
    """Return all kinds that were declared."""
    return tuple(_groups)


@contextmanager
def only(*groups: Group) -> Iterator[None]:
    """Let only these be declared while the block runs, and what is declared in it: for tests."""
    before = _groups[:]
    _groups[:] = groups
    declared.cache_clear()
    try:
        yield
    finally:
        _groups[:] = before
        declared.cache_clear()


def discover() -> None:
    """Import ``realtime.py`` of every installed app, as the admin does with ``admin.py``."""
    autodiscover_modules("realtime")
    for group in _groups:
        group.is_found = True


def overlaps() -> Iterator[tuple[Group, Group]]:
    """Return the pairs of kinds that some name would fit both."""
    for one, other in combinations(_groups, 2):
        if _meet(_tokens(one.template), _tokens(other.template)):
            yield one, other


_ANY: Final = None
"""Stands for a placeholder among the characters of a template."""

_Place: TypeAlias = tuple[int, bool]
"""How far a template was read, and whether the last thing was a placeholder, which may go on."""


def _tokens(template: str) -> tuple[str | None, ...]:
    tokens: list[str | None] = []
    for part, is_name in zip(_PLACEHOLDER.split(template), _alternating(), strict=False):
        tokens += [_ANY] if is_name else part
    return tuple(tokens)


def _meet(one: Sequence[str | None], other: Sequence[str | None]) -> bool:
    """Whether some name fits both: a placeholder is one or more characters, and no dot."""
    seen: set[tuple[_Place, _Place]] = set()
    todo: list[tuple[_Place, _Place]] = [((0, False), (0, False))]
    while todo:
        both = todo.pop()
        if both in seen:
            continue
        seen.add(both)
        if (both[0][0], both[1][0]) == (len(one), len(other)):
            return True
        todo += [
            (place, other_place)
            for token, place in _steps(one, both[0])
            for other_token, other_place in _steps(other, both[1])
            if _same(token, other_token)
        ]
    return False


def _steps(tokens: Sequence[str | None], place: _Place) -> Iterator[tuple[str | None, _Place]]:
    """Return what the next character may be, and the place behind it."""
    index, goes_on = place
    if goes_on:
        yield _ANY, place
    if index < len(tokens):
        yield tokens[index], (index + 1, tokens[index] is _ANY)


def _same(one: str | None, other: str | None) -> bool:
    if one is _ANY or other is _ANY:
        return one != "." and other != "."
    return one == other
