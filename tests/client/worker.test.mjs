// What `socket.js` does where there is no page: in a worker.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Server, back, clock, closeAll, happen, opened, turn } from "./fakes.mjs";

afterEach(closeAll);

test("a path is of the worker's script", async () => {
  await opened("/ws/room/");
  assert.equal(Server.last.url.href.split("?")[0], "wss://example.com/ws/room/");
});

test("it comes back, and wakes when the network does", async () => {
  const socket = await opened();
  Server.last.end();
  assert.ok(socket.states.at(-1).delay <= 1_000);
  (await back()).accept().end();
  const before = Server.all.length;
  happen("online");
  clock.advance(0);
  await turn();
  assert.equal(Server.all.length, before + 1);
});
