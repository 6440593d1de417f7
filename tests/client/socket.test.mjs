// What `socket.js` does when, told by a clock and a server of the test's own.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import {
  ConnectionLost, MessageError, Server, back, clock, closeAll, document, happen, opened, page, turn,
} from "./fakes.mjs";

const MARK = "\x1e";
let random;

beforeEach(() => {
  random = mock.method(Math, "random", () => 0.5);
});

afterEach(() => {
  closeAll();
  random.mock.restore();
});

const delay = (socket) => socket.states.at(-1).delay;
const names = (socket) => socket.states.map(({ state }) => state);
const attempts = () => Server.all.length;
const bytes = async (blob) => Buffer.from(await blob.arrayBuffer()).toString("latin1");

// Where it connects

test("a path is of the page, and http becomes ws", async () => {
  await page("../attic/?age=7#top");
  const { url, protocols } = Server.last;
  assert.equal(url.href.split("wsc=")[0], "wss://example.com/rooms/attic/?age=7&");
  assert.equal(url.hash, "");
  assert.deepEqual(protocols, ["wsconsumer.v1"]);
});

test("a whole address may be of any scheme", async () => {
  for (const [given, expected] of [
    ["http://localhost:8000/ws/", "ws://localhost:8000/ws/"],
    [new URL("wss://example.org/ws/"), "wss://example.org/ws/"],
  ]) {
    await page(given);
    assert.equal(Server.last.url.href.split("?")[0], expected);
  }
});

test("a function is asked for the URL and the token before each attempt", async () => {
  let count = 0;
  await page(() => `/ws/${++count}/`, { token: async () => `t${count}` });
  assert.equal(Server.last.url.pathname, "/ws/1/");
  assert.deepEqual(Server.last.protocols, ["wsconsumer.v1", "bearer", "t1"]);
  Server.last.end();
  const { url, protocols } = await back();
  assert.equal(url.pathname, "/ws/2/");
  assert.deepEqual(protocols, ["wsconsumer.v1", "bearer", "t2"]);
  assert.ok(!url.href.includes("t2"));
});

test("a token may be a text, of another scheme, or missing", async () => {
  await page("/ws/", { token: "abc", scheme: "Token" });
  assert.deepEqual(Server.last.protocols, ["wsconsumer.v1", "Token", "abc"]);
  await page("/ws/", { token: () => null });
  assert.deepEqual(Server.last.protocols, ["wsconsumer.v1"]);
});

test("a function that fails is asked again, and the reason is told", async () => {
  const warn = mock.method(console, "warn", () => {});
  const error = new Error("no network");
  const socket = await page(() => Promise.reject(error));
  assert.equal(socket.state, "waiting");
  assert.equal(socket.states.at(-1).error, error);
  assert.equal(warn.mock.callCount(), 1);
  const broken = await page("wss://bad/");
  assert.ok(broken.states.at(-1).error instanceof SyntaxError);
  warn.mock.restore();
});

test("a function that never answers, or too late, is asked again", async () => {
  const answers = [];
  const socket = await page(() => new Promise((...settle) => answers.push(settle)));
  clock.advance(20_000);
  assert.equal(socket.state, "waiting");
  clock.advance(1_000);
  const before = attempts();
  const warn = mock.method(console, "warn", () => {});
  answers[0][0]("/ws/too-late/");
  await turn();
  assert.equal(attempts(), before);
  answers[1][0]("/ws/second/");
  await turn();
  assert.equal(Server.last.url.pathname, "/ws/second/");
  Server.last.end();
  clock.advance(120_000);
  socket.close();
  answers[2][1](new Error("too late"));
  await turn();
  assert.equal(socket.state, "closed");
  warn.mock.restore();
});

test("a handshake without an answer is given up", async () => {
  const socket = await page();
  const hanging = Server.last;
  clock.advance(20_000);
  assert.equal(socket.state, "waiting");
  assert.equal(hanging.closes.length, 1);
  hanging.accept();
  assert.equal(socket.state, "waiting");
});

test("a server that answers another subprotocol is left alone", async () => {
  const socket = await page("/ws/", { token: "abc" });
  Server.last.accept("bearer");
  assert.equal(socket.state, "closed");
  assert.match(socket.states.at(-1).reason, /does not speak wsconsumer\.v1/);
});

// Coming back

test("states are told in their order", async () => {
  const socket = await opened();
  Server.last.end(1012, "restart");
  (await back()).accept();
  socket.close();
  assert.deepEqual(names(socket), ["open", "waiting", "connecting", "open", "closed"]);
  assert.deepEqual(socket.states[1], {
    state: "waiting", code: 1012, reason: "restart", error: undefined, delay: 500,
  });
});

test("delays grow at random until the first heartbeat, and opening is not enough", async () => {
  const socket = await opened();
  const delays = [];
  for (let attempt = 0; attempt < 7; attempt++) {
    Server.last.end();
    delays.push(delay(socket));
    (await back()).accept();
  }
  assert.deepEqual(delays, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  Server.last.say('␞{"ping":25}');
  Server.last.end();
  assert.equal(delay(socket), 500);
  random.mock.mockImplementation(() => 0.01);
  (await back()).end();
  assert.equal(delay(socket), 20);
});

test("a page that nobody sees comes back within two minutes", async () => {
  const socket = await opened();
  document.hidden = true;
  random.mock.mockImplementation(() => 0.99);
  Server.last.end();
  assert.equal(delay(socket), 118_800);
});

for (const [reason, expected] of [
  ["after=60", 60_500],
  ["draining; after=7", 7_500],
  ["after=soon", 500],
  ["thereafter=60", 500],
  ["after=99999999999999999999", 3_600_500],
]) {
  test(`the server's advice is followed: ${reason}`, async () => {
    const socket = await opened();
    Server.last.end(1012, reason);
    assert.equal(delay(socket), expected);
    const before = attempts();
    happen("online");
    clock.advance(expected - 501);
    await turn();
    assert.equal(attempts(), before);
    clock.advance(501);
    await turn();
    assert.equal(attempts(), before + 1);
  });
}

test("4401 is answered with one more attempt, after two seconds", async () => {
  const socket = await opened();
  Server.last.end(4401, "401");
  assert.equal(delay(socket), 2_000);
  (await back()).accept().end(1006);
  (await back()).accept().end(4401);
  assert.equal(socket.state, "closed");
  assert.deepEqual(socket.states.at(-1), { state: "closed", code: 4401, reason: "" });
});

test("4401 after a heartbeat is the first one again", async () => {
  const socket = await opened();
  Server.last.end(4401);
  const server = await back();
  server.accept().say('␞{"ping":25}');
  server.end(4401);
  assert.equal(delay(socket), 2_000);
});

test("what the server does not want back stays away", async () => {
  const socket = await opened();
  Server.last.end(4503, "403");
  assert.deepEqual(socket.states.at(-1), { state: "closed", code: 4503, reason: "403" });
  const before = attempts();
  happen("online");
  happen("pageshow");
  clock.advance(1e6);
  await turn();
  assert.equal(attempts(), before);
});

test("close() is for good, at any time", async () => {
  const waiting = await opened();
  Server.last.end();
  const connecting = await page();
  const open = await opened();
  for (const socket of [waiting, connecting, open]) {
    socket.close(4000, "enough");
    socket.close();
    assert.deepEqual(socket.states.at(-1), { state: "closed", code: 4000, reason: "enough" });
  }
  assert.deepEqual(Server.last.closes[0], [4000, "enough"]);
  const before = attempts();
  for (const type of ["online", "pageshow", "visibilitychange"]) happen(type);
  clock.advance(1e6);
  await turn();
  assert.equal(attempts(), before);
});

test("close() before there is a socket", async () => {
  const before = attempts();
  const socket = page();
  closeAll();
  assert.equal((await socket).state, "closed");
  assert.equal(attempts(), before);
});

test("late events of an old socket are ignored", async () => {
  const socket = await opened();
  const old = Server.last;
  clock.advance(51_000);
  assert.equal(socket.state, "waiting");
  const { accept } = await back();
  accept.call(Server.last);
  const before = socket.states.length;
  old.say("late");
  old.end(4503);
  assert.equal(socket.states.length, before);
  assert.deepEqual(socket.told, []);
});

// What wakes it

for (const [type, hidden, wakes] of [
  ["online", false, true],
  ["online", true, false],
  ["visibilitychange", false, true],
  ["visibilitychange", true, false],
  ["pageshow", false, true],
  ["pageshow", true, true],
]) {
  test(`${type} ${wakes ? "wakes" : "does not wake"} a page that is ${hidden ? "hidden" : "seen"}`, async () => {
    document.hidden = hidden;
    await opened();
    Server.last.end();
    const before = attempts();
    happen(type);
    clock.advance(0);
    await turn();
    assert.equal(attempts(), before + Number(wakes));
  });
}

test("what wakes others leaves one alone that is open or connects", async () => {
  await opened();
  await page();
  const before = attempts();
  for (const type of ["online", "visibilitychange", "pageshow", "offline"]) happen(type);
  clock.advance(0);
  await turn();
  assert.equal(attempts(), before);
});

test("a page that is left closes, and opens when it is shown again", async () => {
  const socket = await opened();
  const left = Server.last;
  happen("pagehide");
  assert.equal(left.closes.length, 1);
  assert.equal(socket.state, "waiting");
  const before = attempts();
  clock.advance(1e6);
  await turn();
  assert.equal(attempts(), before);
  happen("pageshow");
  clock.advance(0);
  await turn();
  assert.equal(attempts(), before + 1);
});

// Signs of life

test("a heartbeat is answered", async () => {
  await opened();
  Server.last.say('␞{"ping":25}');
  assert.deepEqual(Server.last.sent, [`${MARK}{"pong":1}`]);
});

test("any message is a sign of life", async () => {
  const socket = await opened();
  for (let count = 0; count < 9; count++) {
    clock.advance(49_000);
    Server.last.say("hello");
  }
  assert.equal(socket.state, "open");
  clock.advance(50_999);
  assert.equal(socket.state, "open");
  clock.advance(1);
  assert.equal(socket.state, "waiting");
  assert.equal(socket.states.at(-1).reason, "no sign of life");
});

test("the server says how long it may be silent", async () => {
  const socket = await opened();
  Server.last.say('␞{"ping":3}');
  clock.advance(6_999);
  assert.equal(socket.state, "open");
  clock.advance(1);
  assert.equal(socket.state, "waiting");
});

test("a laptop that slept is noticed when it wakes, though no timer was due", async () => {
  const socket = await opened();
  clock.now += 3_600_000;
  happen("visibilitychange");
  assert.equal(socket.state, "open");
  clock.advance(1_000);
  assert.equal(socket.state, "waiting");
});

test("what came while a page was frozen is read before it gives up", async () => {
  const socket = await opened();
  clock.now += 3_600_000;
  happen("visibilitychange");
  Server.last.say('␞{"ping":25}');
  clock.advance(2_000);
  assert.equal(socket.state, "open");
});

test("a clock that is put back does not make it wait for ever", async () => {
  const socket = await opened();
  clock.now -= 3_600_000;
  clock.advance(101_000);
  assert.equal(socket.state, "waiting");
});

// Messages

for (const [name, data, expected] of [
  ["an object", '{"a":[1]}', { data: { a: [1] }, text: '{"a":[1]}' }],
  ["a text", "hello {", { data: "hello {", text: "hello {" }],
  ["a number", "42", { data: 42, text: "42" }],
  ["nothing", "null", { data: null, text: "null" }],
  ["an empty text", "", { data: "", text: "" }],
  ["a line feed", "a\nb", { data: "a\nb", text: "a\nb" }],
  ["one that looks like a header", "␞{}⏎␞x", { data: "␞x", text: "␞x" }],
  ["a broadcast", '␞{"group":"a","offset":3}⏎[1]\n', { data: [1], text: "[1]\n", group: "a", offset: 3 }],
]) {
  test(`a message: ${name}`, async () => {
    const socket = await opened();
    Server.last.say(data);
    const nothing = { group: undefined, offset: undefined };
    const told = JSON.parse(JSON.stringify(expected).replaceAll("␞", "\\u001e"));
    assert.deepEqual(socket.told, [{ type: "message", ...nothing, ...told }]);
  });
}

for (const [name, text, group] of [
  ["as it is", "ab", undefined],
  ["empty", "", undefined],
  ["of a group", `${MARK}{"group":"ä"}\nab`, "ä"],
]) {
  test(`a binary message: ${name}`, async () => {
    const socket = await opened();
    const { buffer } = Uint8Array.from(Buffer.from(text));
    Server.last.say(buffer);
    const [told] = socket.told;
    assert.equal(Buffer.from(told.data).toString(), text && "ab");
    assert.equal(told.text, undefined);
    assert.equal(told.group, group);
  });
}

test("headers that it does not know are passed over", async () => {
  const socket = await opened();
  Server.last.say('␞{"presence":"room","version":7}');
  Server.last.say('␞{"more":1,"group":"a"}⏎x');
  assert.deepEqual(socket.told.map(({ text }) => text), ["x"]);
});

test("send() says whether it is open, and keeps nothing for later", async () => {
  const socket = await page();
  assert.equal(socket.send("early"), false);
  const server = Server.last.accept();
  assert.equal(socket.send("in time"), true);
  server.readyState = 2;
  assert.equal(socket.send("while it closes"), false);
  server.end();
  assert.equal(socket.send("late"), false);
  (await back()).accept();
  assert.deepEqual(server.sent, ["in time"]);
  assert.deepEqual(Server.last.sent, []);
});

test("send() takes objects, texts and bytes", async () => {
  const socket = await opened();
  for (const data of [{ a: 1 }, [1], "text", "", `${MARK}x`]) socket.send(data);
  assert.deepEqual(Server.last.sent.splice(0), ['{"a":1}', "[1]", "text", "", `${MARK}{}\n${MARK}x`]);
  const binary = Uint8Array.of(0x1e, 65);
  for (const data of [binary, binary.buffer, new DataView(binary.buffer, 1), new Blob(["ab"])]) {
    socket.send(data);
  }
  const sent = await Promise.all(Server.last.sent.map(bytes));
  assert.deepEqual(sent.map((text) => text.replace(`${MARK}{}\n`, "|")), ["|\x1eA", "|\x1eA", "|A", "|ab"]);
});

// Positions

const at = async () => {
  Server.last.end();
  return (await back()).wsc.at;
};

test("a client says who it is, and what its page says", async () => {
  await page("/ws/", { live: "signed:text" });
  const { wsc } = Server.last;
  assert.match(wsc.id, /^[0-9a-f]{32}$/);
  assert.equal(wsc.live, "signed:text");
  Server.last.end();
  assert.equal((await back()).wsc.id, wsc.id);
  await page();
  assert.notEqual(Server.last.wsc.id, wsc.id);
});

test("it says where it is in groups that keep", async () => {
  const socket = await opened();
  for (const frame of [
    '␞{"joined":"a","epoch":"e1","offset":0}',
    '␞{"joined":"ü","epoch":"","offset":7}',
    '␞{"group":"a","offset":1}⏎one',
    '␞{"group":"a","offset":4,"skip":true}',
    '␞{"group":"news"}⏎no history',
    '␞{"group":"a"}⏎no offset',
    '␞{"group":"stranger","offset":9}⏎never joined',
  ]) {
    Server.last.say(frame);
  }
  assert.deepEqual(await at(), { a: ["e1", 4], ü: ["", 7] });
  assert.deepEqual(socket.told.filter(({ type }) => type === "reload"), []);
});

for (const [reload, expected] of [[true, 1], [false, 0], [undefined, 0]]) {
  test(`joined with reload ${reload}`, async () => {
    const socket = await opened();
    Server.last.say('␞{"joined":"a","epoch":"e1","offset":3}');
    Server.last.end();
    const told = JSON.stringify({ joined: "a", epoch: "e2", offset: 1, reload });
    (await back()).accept().say(`␞${told}`);
    assert.deepEqual(socket.told, Array(expected).fill({ type: "reload", group: "a" }));
    assert.deepEqual(await at(), { a: ["e2", 1] });
  });
}

for (const chance of [0.01, 0.5, 0.99]) {
  test(`reloads of a crowd are spread over the server's seconds: ${chance}`, async () => {
    random.mock.mockImplementation(() => chance);
    const socket = await opened();
    const join = (more) =>
      Server.last.say(`␞${JSON.stringify({ joined: "a", epoch: "e", offset: 1, reload: true, ...more })}`);
    join({ seconds: 10 });
    join({ seconds: 10 }); // once is enough
    join();
    clock.advance(chance * 10_000 - 1);
    assert.deepEqual(socket.told, []);
    clock.advance(10_000);
    assert.deepEqual(socket.told, [{ type: "reload", group: "a" }]);
    join();
    assert.equal(socket.told.length, 2);
  });
}

test("a socket that was closed tells nobody to reload", async () => {
  const socket = await opened();
  Server.last.say('␞{"joined":"a","epoch":"e","offset":1,"reload":true,"seconds":10}');
  socket.close();
  clock.advance(10_000);
  assert.deepEqual(socket.told, []);
});

test("a reload comes although the connection is lost meanwhile", async () => {
  const socket = await opened();
  Server.last.say('␞{"joined":"a","epoch":"e","offset":1,"reload":true,"seconds":10}');
  Server.last.end();
  clock.advance(10_000);
  await turn();
  assert.deepEqual(socket.told, [{ type: "reload", group: "a" }]);
  assert.deepEqual(Server.last.wsc.at, { a: ["e", 1] });
});

test("what the URL has no room for is reloaded if something happened there", async () => {
  const socket = await opened();
  const groups = Array.from({ length: 100 }, (_, number) => `${number}`.padEnd(100, "x"));
  for (const joined of groups) {
    Server.last.say(`␞${JSON.stringify({ joined, epoch: "e", offset: 5 })}`);
  }
  Server.last.say(`␞${JSON.stringify({ group: groups[0], offset: 6 })}⏎heard last`);
  socket.told.length = 0;
  Server.last.end();
  const server = await back();
  assert.ok(server.url.searchParams.get("wsc").length <= 4_096);
  const told = Object.keys(server.wsc.at);
  assert.ok(told.length > 10);
  assert.deepEqual(told.slice(0, 2), [groups[0], groups[99]]);
  server.accept();
  const join = (joined, offset, more) =>
    server.say(`␞${JSON.stringify({ joined, epoch: "e", offset, ...more })}`);
  join(groups[99], 9); // it was told where we were
  join(groups[1], 5); // nothing happened
  join(groups[2], 9);
  join(groups[3], 9, { reload: false });
  join(groups[4], 5, { reload: true });
  join(groups[2], 11); // joined again
  assert.deepEqual(socket.told.map(({ group }) => group), [groups[2], groups[4]]);
});

test("what has room again by the next time is not reloaded", async () => {
  const socket = await opened();
  const join = (joined, epoch, offset) =>
    Server.last.say(`␞${JSON.stringify({ joined, epoch, offset, reload: false })}`);
  join("small", "x".repeat(500), 1);
  join("big", "x".repeat(2_800), 1);
  assert.deepEqual(Object.keys(await at()), ["big"]);
  Server.last.accept();
  join("big", "e", 2);
  assert.deepEqual(Object.keys(await at()), ["big", "small"]);
  Server.last.accept().say('␞{"joined":"small","epoch":"e","offset":9}'); // it does not resume
  assert.deepEqual(socket.told, []);
});

test("the longest page has room", async () => {
  await page("/ws/", { live: "x".repeat(3_000) });
  assert.ok(Server.last.url.searchParams.get("wsc").length <= 4_096);
});

// Requests

const asked = () => JSON.parse(Server.last.sent.at(-1));
const answer = (message) => Server.last.say(JSON.stringify(message));

test("request() resolves to the reply with its ref", async () => {
  const socket = await opened();
  const first = socket.request({ type: "history", before: 40 });
  const { ref, ...message } = asked();
  assert.deepEqual(message, { type: "history", before: 40 });
  const second = socket.request({ type: "say" });
  answer({ type: "ok", ref: asked().ref });
  answer({ type: "said", text: "in between" });
  Server.last.say(`␞{"group":"a"}⏎{"type":"said","ref":${ref}}`);
  answer({ type: "page", lines: [], ref });
  assert.deepEqual(await first, { type: "page", lines: [], ref });
  assert.equal((await second).type, "ok");
  assert.deepEqual(socket.told.map(({ data }) => data.type), ["said", "said"]);
  answer({ type: "page", ref });
  assert.equal(socket.told.length, 3);
});

test("request() rejects with the error that it is answered with", async () => {
  const socket = await opened();
  const reply = socket.request({ type: "say" });
  answer({ type: "error", code: "spam", detail: "Not here.", fields: { text: ["No."] }, ref: asked().ref });
  await assert.rejects(reply, (error) => {
    assert.ok(error instanceof MessageError);
    const { name, message, code, detail, fields } = error;
    assert.deepEqual([name, message, code, detail], ["MessageError", "Not here.", "spam", "Not here."]);
    return fields.text[0] === "No.";
  });
  const plain = socket.request({ type: "say" });
  answer({ type: "error", code: "not_found", detail: "", ref: asked().ref });
  await assert.rejects(plain, { message: "not_found" });
});

test("request() rejects if the connection is lost, or not there", async () => {
  const socket = await opened();
  const lost = [socket.request({ type: "a" }), socket.request({ type: "b" })];
  Server.last.end();
  for (const reply of lost) {
    await assert.rejects(reply, { name: "ConnectionLost", message: "connection lost", sent: true });
  }
  await assert.rejects(socket.request({ type: "a" }), { name: "ConnectionLost", sent: false });
  (await back()).accept();
  answer({ type: "ok", ref: 1 });
  assert.equal(socket.told.length, 1); // what was asked before is no question any more
  const closed = socket.request({ type: "a" });
  socket.close();
  await assert.rejects(closed, (error) => error instanceof ConnectionLost && error.sent);
});

test("stream() yields replies until the end", async () => {
  const socket = await opened();
  const stream = socket.stream({ type: "tail" });
  assert.deepEqual(Server.last.sent, []);
  const first = stream.next();
  const { ref } = asked();
  for (const number of [1, 2, 3]) answer({ type: "line", number, ref });
  answer({ type: "end", ref });
  assert.equal((await first).value.number, 1);
  const numbers = [];
  for await (const { number } of stream) numbers.push(number);
  assert.deepEqual(numbers, [2, 3]);
  assert.equal(Server.last.sent.length, 1);
});

test("leaving the loop of a stream cancels it, and what still comes is for nobody", async () => {
  const socket = await opened();
  const read = (async () => {
    for await (const line of socket.stream({ type: "tail" })) return line.number;
  })();
  const { ref } = asked();
  answer({ type: "line", number: 1, ref });
  answer({ type: "line", number: 2, ref });
  assert.equal(await read, 1);
  assert.deepEqual(asked(), { type: "cancel", ref });
  assert.equal(Server.last.sent.length, 2);
  answer({ type: "line", number: 3, ref });
  answer({ type: "end", ref });
  assert.deepEqual(socket.told, []);
  answer({ type: "line", ref });
  assert.equal(socket.told.length, 1);
});

test("a stream can be left from elsewhere while it waits, or before it begins", async () => {
  const socket = await opened();
  const stream = socket.stream({ type: "tail" });
  const next = stream.next();
  const { ref } = asked();
  assert.deepEqual(await stream.return("done"), { value: "done", done: true });
  assert.deepEqual(await next, { value: undefined, done: true });
  assert.deepEqual(asked(), { type: "cancel", ref });
  await socket.stream({ type: "tail" }).return();
  assert.equal(Server.last.sent.length, 2);
});

test("a stream raises its error, and that the connection was lost", async () => {
  const socket = await opened();
  const refused = socket.stream({ type: "tail" }).next();
  answer({ type: "error", code: "permission_denied", detail: "", ref: asked().ref });
  await assert.rejects(refused, { code: "permission_denied" });
  const lost = socket.stream({ type: "tail" });
  const first = lost.next();
  answer({ type: "line", number: 1, ref: asked().ref });
  assert.equal((await first).value.number, 1);
  Server.last.end();
  await assert.rejects(lost.next(), { name: "ConnectionLost", sent: true });
  await assert.rejects(socket.stream({ type: "tail" }).next(), { sent: false });
  assert.equal(Server.last.sent.length, 2);
});
