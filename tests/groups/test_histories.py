"""What the memory backend keeps: how much, for how long, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsconsumer.groups.histories import Histories
from wsconsumer.groups.keeping import EPOCH_SECONDS, Keep, Kept

if TYPE_CHECKING:
    from wsconsumer.groups.base import Position

GROUP = ("", "g")
KEEP = Keep(3, 60)


class Clock:
    """A clock that tests move."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Histories, Clock]:
    clock = Clock()
    return Histories(clock), clock


def append(
    histories: Histories, body: bytes, *, keep: Keep = KEEP, key: str | None = None
) -> tuple[Position, bool]:
    """Append a body; return its position, and whether it was published."""
    published: list[Position] = []
    position = histories.append(GROUP, body, keep, key, published.append)
    return position, bool(published)


def test_bodies_are_kept_after_the_last_one() -> None:
    """``seconds`` counts from the last body, for all of them; top and epoch stay."""
    histories, clock = make()
    (epoch, _), _ = append(histories, b"a")
    clock.now += 59
    append(histories, b"b")
    clock.now += 59
    assert histories.read(GROUP, 0) == Kept(epoch, 2, [(1, b"a"), (2, b"b")])
    clock.now += 1
    assert histories.read(GROUP, 0) == Kept(epoch, 2)
    append(histories, b"c")
    assert histories.read(GROUP, 0) == Kept(epoch, 3, [(3, b"c")])


def test_a_key_counts_as_long_as_bodies_are_kept() -> None:
    """After that it is another broadcast."""
    histories, clock = make()
    assert append(histories, b"a", key="k")[1]
    clock.now += 59
    position, is_published = append(histories, b"a", key="k")
    assert (position.offset, is_published) == (1, False)
    clock.now += 1
    assert append(histories, b"b", key="other")[1]
    position, is_published = append(histories, b"a", key="k")
    assert (position.offset, is_published) == (3, True)


def test_an_old_history_is_forgotten() -> None:
    """A day after its last use nothing of a group is in memory; others make room for it."""
    histories, clock = make()
    before, _ = append(histories, b"a")
    clock.now += EPOCH_SECONDS - 1
    assert histories.read(GROUP, None).epoch == before.epoch
    clock.now += EPOCH_SECONDS
    histories.read(("", "h"), None)
    assert list(histories._histories) == []  # noqa: SLF001  # what is inside is what is tested
    after, _ = append(histories, b"b")
    assert (after.epoch != before.epoch, after.offset) == (True, 1)


def test_everything_can_be_lost() -> None:
    """After ``clear()`` each group has another epoch."""
    histories, _ = make()
    before, _ = append(histories, b"a")
    histories.clear()
    assert histories.read(GROUP, None).epoch != before.epoch


def test_a_group_that_nobody_has_spoken_to_takes_no_memory() -> None:
    """However many names are asked for: each has an epoch, which its first broadcast goes on."""
    histories, clock = make()
    epochs = {histories.read(("", f"{number}"), None).epoch for number in range(1_000)}
    assert len(epochs) == 1_000
    assert len(histories._histories) == 0  # noqa: SLF001
    before = histories.read(GROUP, 0)
    clock.now += 10 * EPOCH_SECONDS
    assert histories.read(GROUP, None) == before == Kept(before.epoch, 0)
    position, _ = append(histories, b"a")
    assert position == (before.epoch, 1)


def test_what_is_forgotten_takes_its_epoch_along() -> None:
    """The next history of a group is another one; most other names keep their epochs."""
    histories, clock = make()
    names = [("", f"{number}") for number in range(1_000)]
    before = [histories.read(name, None).epoch for name in names]
    seen: set[str] = set()
    for _ in range(5):
        position, _ = append(histories, b"a")
        assert (position.epoch in seen, position.offset) == (False, 1)
        seen.add(position.epoch)
        clock.now += EPOCH_SECONDS
        histories.read(GROUP, None)
    after = [histories.read(name, None).epoch for name in names]
    assert sum(one == other for one, other in zip(before, after, strict=True)) > 950


def test_a_share_of_names_begins_anew_once_a_day_at_most() -> None:
    """Of histories that began in one epoch of their share, the first that is forgotten ends it."""
    histories, clock = make()
    histories._epochs._share = lambda group: 0  # type: ignore[method-assign]  # noqa: SLF001  # all share it
    first = histories.read(("", "never spoken to"), None).epoch
    for number in range(4):
        histories.append(("", f"{number}"), b"a", KEEP, None, lambda position: None)
        clock.now += 60
    clock.now += EPOCH_SECONDS
    epochs = {histories.read(("", "never spoken to"), None).epoch for _ in range(4)}
    assert len(epochs) == 1
    assert first not in epochs
    assert len(histories._histories) == 0  # noqa: SLF001
