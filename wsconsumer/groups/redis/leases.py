"""
The leases of processes in Redis, their counts by key, and the scripts that touch them.

    {channel}:l      sorted set: the processes, by the time in milliseconds at which they lapse
    {channel}:c:x    hash: how many of the key x each process has

The channel is one of ours that no group can have, so in a cluster all of it is at one server. A
field of a process whose lease has lapsed counts for nothing, and goes when somebody comes across
it. All of it may be lost at any time: without their leases, processes begin anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..leasing import FORGOTTEN_AFTER, TOLD_FOR, Beat
from ..names import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..leasing import Entry
    from .role import Command

GROUP: Final = f"{RESERVED}processes"
"""Its channel gives the keys their names; nothing is published there."""

RIGHTS: Final = (
    "+eval +time +zadd +zrem +zscore +zrangebyscore +zremrangebyscore +pexpire +hset +hdel +hgetall"
    " +hincrby +expire"
)
"""What a user of an ACL needs for the scripts, besides the keys."""

_LEASES: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = {}
local function is_held(process)
  if known[process] == nil then
    local ends = redis.call('ZSCORE', KEYS[1], process)
    known[process] = ends and tonumber(ends) > now or false
  end
  return known[process]
end
"""

BEAT: Final = (
    _LEASES
    + """
local process, lease, told, begins = unpack(ARGV)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - told))
local was_held = is_held(process)
if was_held or begins == '1' then
  redis.call('ZADD', KEYS[1], string.format('%d', now + lease), process)
  redis.call('PEXPIRE', KEYS[1], lease + told)
end
local until_now = string.format('%d', now)
local lapsed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', until_now, 'LIMIT', 0, 1000)
return {was_held and 1 or 0, lapsed}
"""
)
"""Begin or extend a lease, and tell which have lapsed."""

_COUNTS: Final = (
    _LEASES
    + """
local function counts(key)
  local held, total, fields = {}, 0, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if is_held(fields[i]) then
      total = total + fields[i + 1]
      held[#held + 1] = fields[i]
      held[#held + 1] = fields[i + 1]
    else
      redis.call('HDEL', key, fields[i])
    end
  end
  return total, held
end
"""
)

ADMIT: Final = (
    _COUNTS
    + """
local process, keep, written, entries = unpack(ARGV)
if not is_held(process) then return false end
local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end
for _ = 1, written do
  local key, count = KEYS[tonumber(take())], take()
  if count == '0' then
    redis.call('HDEL', key, process)
  else
    redis.call('HSET', key, process, count)
    redis.call('EXPIRE', key, keep)
  end
end
local answers = {}
for number = 1, entries do
  local keys, fits = {}, 1
  for i = 1, take() do
    keys[i] = KEYS[tonumber(take())]
    if counts(keys[i]) >= tonumber(take()) then fits = 0 end
  end
  if fits == 1 then
    for _, key in ipairs(keys) do
      redis.call('HINCRBY', key, process, 1)
      redis.call('EXPIRE', key, keep)
    end
  end
  answers[number] = fits
end
return answers
"""
)
"""Write counts, then let in who comes while there is room."""

COUNTED: Final = (
    _COUNTS
    + """
local found = {}
for i = 2, #KEYS do
  local _, held = counts(KEYS[i])
  found[i - 1] = held
end
return found
"""
)
"""Return who has how many of each key."""


def beat_command(channel: bytes, process: str, seconds: float, *, begins: bool) -> Command:
    """Return the command that begins or extends a lease."""
    lease = max(1, round(seconds * 1000))
    return ("EVAL", BEAT, 1, _leases(channel), process, lease, TOLD_FOR * 1000, int(begins))


def admit_command(
    channel: bytes, process: str, counts: Mapping[str, int], entries: Sequence[Entry]
) -> Command:
    """Return the command that writes counts and lets in who comes."""
    wanted = (key for entry in entries for key, _ in entry)
    places = {key: place for place, key in enumerate(dict.fromkeys((*counts, *wanted)), 2)}
    keys = [_leases(channel), *(_counts(channel, key) for key in places)]
    rest: list[int] = []
    for key, count in counts.items():
        rest += places[key], count
    for entry in entries:
        rest.append(len(entry))
        for key, limit in entry:
            rest += places[key], limit
    told = (process, FORGOTTEN_AFTER, len(counts), len(entries))
    return ("EVAL", ADMIT, len(keys), *keys, *told, *rest)


def counted_command(channel: bytes, keys: Sequence[str]) -> Command:
    """Return the command that reads counts."""
    names = [_leases(channel), *(_counts(channel, key) for key in keys)]
    return ("EVAL", COUNTED, len(names), *names)


def leave_command(channel: bytes, process: str) -> Command:
    """Return the command that ends a lease."""
    return ("ZREM", _leases(channel), process)


def _leases(channel: bytes) -> bytes:
    return b"{%b}:l" % channel


def _counts(channel: bytes, key: str) -> bytes:
    return b"{%b}:c:%b" % (channel, key.encode())


def beat_of(reply: Any) -> Beat:
    """Return what the script for beats returned."""
    was_held, lapsed = reply
    return Beat(bool(was_held), [name.decode() for name in lapsed])


def counts_of(fields: Sequence[bytes]) -> dict[str, int]:
    """Return what the script for reading returned of a key."""
    names = (name.decode() for name in fields[::2])
    return dict(zip(names, map(int, fields[1::2]), strict=True))
