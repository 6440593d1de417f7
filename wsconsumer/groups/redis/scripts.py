"""
What a group that keeps has in Redis, and the two scripts that touch it.

    {channel}:s     hash: the epoch ``e``, the last offset ``o``, and the reign ``r`` it began in
    {channel}:m     stream: the bodies, whose ids are the offsets
    {channel}:k:x   string: the position of what was said with the key x

The braces make them neighbours of the channel in a cluster, so a channel has none of its own. All
three may be lost at any time: without the hash a history begins anew, without the stream it has
only its position left, and without the string a key may be said again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError

from ..base import Position
from ..keeping import EPOCH_SECONDS, UNSPOKEN_SECONDS, Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..keeping import Keep
    from .role import Command

RIGHTS: Final = "+eval +info +get +set +del +expire +hget +hmget +hset +hincrby +xadd +xrange"
"""What a user of an ACL needs for the scripts, besides the keys."""

_FORBIDDEN: Final = "The user executing the script can't"
"""What Redis says of a command, key or channel that is forbidden within a script."""

MARK: Final = b"\x01"
"""
Before a body that was kept, on its way: MARK, epoch, ``:``, offset, ``:``, body.

What is published begins with something else, or else with MARK and two colons. No envelope begins
with it, so whoever does not know it refuses the body.
"""

NO_STAMP: Final = bytes(16)
"""What a kept body has in a cluster where others have a stamp: its position does as well."""

_BEGIN: Final = """
local function reign()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
end
local function begin(epoch, reign)
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0, 'r', reign)
  return epoch
end
"""

APPEND: Final = (
    _BEGIN
    + """
local body, size, seconds, day, new, word, channel, before = unpack(ARGV)
if KEYS[3] then
  local said = redis.call('GET', KEYS[3])
  if said then return said end
end
local epoch = redis.call('HGET', KEYS[1], 'e') or begin(new, reign())
local offset = string.format('%d', redis.call('HINCRBY', KEYS[1], 'o', 1))
redis.call('XADD', KEYS[2], 'MAXLEN', size, offset .. '-0', 'b', body)
redis.call('EXPIRE', KEYS[2], seconds)
redis.call('EXPIRE', KEYS[1], day)
local position = epoch .. ':' .. offset
if KEYS[3] then redis.call('SET', KEYS[3], position, 'EX', seconds) end
redis.call(word, channel, before .. position .. ':' .. body)
return position
"""
)
"""Number, keep and publish, as one. A key that was said before is not said again."""

READ: Final = (
    _BEGIN
    + """
local after, unspoken, new = unpack(ARGV)
local epoch, top, at = unpack(redis.call('HMGET', KEYS[1], 'e', 'o', 'r'))
local now = reign()
if not epoch or (now ~= '' and at ~= '' and now ~= at) then
  epoch, top = begin(new, now), '0'
elseif now ~= '' and at == '' then
  redis.call('HSET', KEYS[1], 'r', now)
end
if top == '0' then redis.call('EXPIRE', KEYS[1], unspoken) end
local bodies = {}
if after ~= '' then bodies = redis.call('XRANGE', KEYS[2], after .. '-1', '+') end
return {epoch, top, bodies, now}
"""
)
"""
Read what is kept after an offset. What was never said is soon forgotten, unless it is asked for.

Replicas lag: a replica that was promoted may never have heard of the last broadcasts, and would
number the next ones like those. So whoever reads after that finds another reign than the one that
the history began in, and begins another. A reign is what Redis calls a replication ID: each server
that becomes the primary has a new one, even if it was the primary before. Its ``run_id`` would be
the same again after two failovers between which nobody read.
"""


def append_command(
    word: str, channel: bytes, body: bytes, keep: Keep, key: str | None, new_epoch: str
) -> Command:
    """Return the command that appends; ``word`` is the one that publishes."""
    names = [*_keys(channel)]
    if key is not None:
        names.append(b"{%b}:k:%b" % (channel, key.encode()))
    before = NO_STAMP + MARK if word == "SPUBLISH" else MARK
    rest = (body, keep.size, keep.seconds, EPOCH_SECONDS, new_epoch, word, channel, before)
    return ("EVAL", APPEND, len(names), *names, *rest)


def read_command(channel: bytes, after: int | None, new_epoch: str) -> Command:
    """Return the command that reads."""
    offset = "" if after is None else after
    return ("EVAL", READ, 2, *_keys(channel), offset, UNSPOKEN_SECONDS, new_epoch)


def _keys(channel: bytes) -> tuple[bytes, bytes]:
    return b"{%b}:s" % channel, b"{%b}:m" % channel


def position_of(reply: bytes) -> Position:
    """Return the position that the script for appending returned."""
    epoch, _, offset = reply.decode().partition(":")
    return Position(epoch, int(offset))


def kept_of(reply: Any) -> tuple[Kept, bool]:
    """Return what the script for reading returned, and whether it could tell the reign."""
    epoch, top, entries, reign = reply
    kept = Kept(epoch.decode(), int(top), [_message(*entry) for entry in entries])
    return kept, bool(reign)


def _message(entry_id: bytes, fields: Sequence[bytes]) -> tuple[int, bytes]:
    return int(entry_id.partition(b"-")[0]), fields[1]


def without_position(body: bytes) -> bytes:
    """Return how a body travels that is not kept."""
    return MARK + b"::" + body if body.startswith(MARK) else body


def split_position(came: bytes) -> tuple[Position | None, bytes]:
    """Take the position off what came, if it has one."""
    if not came.startswith(MARK):
        return None, came
    epoch, offset, body = came[1:].split(b":", 2)
    return (Position(epoch.decode(), int(offset)) if epoch else None), body


def is_forbidden(error: BaseException | None) -> bool:
    """Tell whether an ACL forbids what a script is or does."""
    return isinstance(error, NoPermissionError) or _FORBIDDEN in str(error)
