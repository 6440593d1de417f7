"""Mistakes that a history invites, made on purpose: what the stress has to catch."""

# ruff: noqa: SLF001  # mutants are made of the inside

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wsconsumer.groups.kept import KeptGroup
from wsconsumer.groups.publication import Publication
from wsconsumer.groups.redis import scripts
from wsconsumer.live import LiveView, position

if TYPE_CHECKING:
    from collections.abc import Callable


def _without_gap_check(group: Any, broadcast: Any, **_: Any) -> Any:
    if broadcast.position.offset > group._top:
        group._top = broadcast.position.offset - 1
        return group._advance(broadcast)
    return None


def _without_epoch_check(group: Any, broadcast: Any, **_: Any) -> Any:
    if broadcast.position.offset == group._top + 1:
        return group._advance(broadcast)
    return None


def _without_dedupe(group: Any, broadcast: Any, **_: Any) -> Any:
    if group._during is None and broadcast.position.offset <= group._top:
        return group.deliver(broadcast)
    return TAKE(group, broadcast)


def _in_part(group: Any, at: Any) -> Any:
    return list(group._recent)[max(0, at.offset + 1 - group._first) :]


TAKE: Final[Callable[..., Any]] = KeptGroup.take


def _forgetting(group: Any, kept: Any) -> bool:
    group._top = kept.top
    return True


def _keeping_what_is_before(group: Any, hole: Any, *, is_live: bool) -> Any:
    recent, is_deep = group._recent.copy(), group._is_deep
    delivered = STEP_OVER(group, hole, is_live=is_live)
    group._recent.extend([*recent, hole])
    group._is_deep = is_deep
    return delivered


STEP_OVER: Final[Callable[..., Any]] = KeptGroup._step_over


def _whole_while_owed(group: Any, at: Any) -> bool:
    return bool(at.epoch == group._epoch and group._first - 1 <= at.offset <= group._top)


MUTANTS: Final[dict[str, dict[str, Any]]] = {
    "no gap check": {"take": _without_gap_check},
    "no epoch check": {"take": _without_epoch_check},
    "doubles": {"take": _without_dedupe},
    "resumes in part": {
        "_is_whole": lambda group, at: at.epoch == group._epoch,
        "_missed": _in_part,
    },
    "resumes any history": {
        "_is_whole": lambda group, at: group._first - 1 <= at.offset <= group._top
    },
    "never looks": {"look_for_more": lambda group: None, "doubt": lambda group: None},
    "adopts in silence": {"_reset": lambda group: None},
    "forgets what it reads": {"_follow": _forgetting},
    "never doubts": {"doubt": lambda group: None},
    "leaves no holes": {"take_unnumbered": lambda group, broadcast: group.deliver(broadcast)},
    "resumes across holes": {"_step_over": _keeping_what_is_before},
    "whole while a hole is owed": {"_is_whole": _whole_while_owed},
}
"""Those of the cursor: what is put in the place of which method."""


def _without_key(*args: Any, key: str | None = None) -> Publication:
    return OF(*args)


OF: Final[Callable[..., Publication]] = Publication.of


def _dispatch_at_once(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    return super(LiveView, view).dispatch(request, *args, **kwargs)


def _take_position_last(view: Any, **kwargs: Any) -> dict[str, Any]:
    view._live = position(*view.get_live_groups(), request=view.request)
    return CONTEXT_OF(view, **kwargs)


CONTEXT_OF: Final[Callable[..., dict[str, Any]]] = LiveView.get_context_data

OTHERS: Final[dict[str, list[tuple[Any, str, Any]]]] = {
    "trusts any server": [(scripts, "READ", scripts.READ.replace("now ~= at", "false"))],
    "ignores keys": [(Publication, "of", _without_key)],
    "position last": [
        (LiveView, "dispatch", _dispatch_at_once),
        (LiveView, "get_context_data", _take_position_last),
    ],
}
"""Those that it takes an engine or a page to see: what is put in the place of what."""


def install(name: str) -> None:
    """Make a mistake in this process, for good."""
    cursor = [(KeptGroup, method, mutant) for method, mutant in MUTANTS.get(name, {}).items()]
    for owner, attribute, mutant in [*cursor, *OTHERS.get(name, [])]:
        setattr(owner, attribute, mutant)
