// A WebSocket that comes back and goes on where it was. socket.d.ts says what each part is for,
// docs/protocol.md what goes over the wire.

const SUBPROTOCOL = "wsconsumer.v1";
const MARK = "\x1e"; // begins a frame with a header
const MAX_PARAMETER = 4_096; // characters

const PING = 25; // seconds between heartbeats, until the server says so itself
const MAX_AFTER = 3_600; // seconds that a server may send us away for

// Milliseconds
const FIRST_DELAY = 1_000; // at most; each failure doubles it
const LONGEST_DELAY = 30_000;
const HIDDEN_DELAY = 120_000; // at most, where nobody looks
const LOGIN_DELAY = 2_000;
const CONNECT_TIMEOUT = 20_000;
const GRACE = 1_000; // to read what came while the page was frozen

const page = globalThis.document; // a worker has none
const EVENTS = ["online", "pageshow", "pagehide", "visibilitychange"];

export class ConnectionLost extends Error {
  name = "ConnectionLost";

  constructor(sent) {
    super("connection lost");
    this.sent = sent;
  }
}

export class MessageError extends Error {
  name = "MessageError";

  constructor({ code, detail, fields }) {
    super(detail || code);
    Object.assign(this, { code, detail, fields });
  }
}

export class Socket extends EventTarget {
  state = "connecting";
  #url;
  #options;
  #id = hex(crypto.getRandomValues(new Uint8Array(16)));
  #at = new Map(); // [epoch, offset] of each group; those heard last come last
  #cut = new Set(); // groups that the URL had no room for
  #late = new Set(); // groups to reload
  #attempt; // events of earlier ones are ignored
  #ws;
  #timer;
  #failures = 0; // since the last heartbeat
  #wasRefused = false; // with 4401, since the last heartbeat
  #notBefore = 0;
  #silence; // milliseconds that it may last
  #seen; // when something came
  #asked = new Map(); // who takes the replies, by ref
  #lastRef = 0;

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = options;
    for (const type of EVENTS) globalThis.addEventListener?.(type, this);
    this.#connect();
  }

  send(data) {
    if (this.#ws?.readyState !== 1) return false;
    if (data instanceof Blob || data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
      data = new Blob([`${MARK}{}\n`, data]);
    } else if (typeof data !== "string") {
      data = JSON.stringify(data);
    } else if (data[0] === MARK) {
      data = `${MARK}{}\n${data}`;
    }
    this.#ws.send(data);
    return true;
  }

  request(message) {
    return new Promise((resolve, reject) => {
      this.#ask(message, (reply) => (reply instanceof Error ? reject(reply) : resolve(reply)));
    });
  }

  stream(message) {
    const replies = [];
    let ref, wake;
    const take = (reply) => {
      replies.push(reply);
      wake?.();
    };
    const ask = () => (ref = this.#ask(message, take, true));
    const stop = () => {
      if (!this.#asked.has(ref)) return;
      this.send({ type: "cancel", ref });
      take({ type: "end" });
    };
    const stream = (async function* () {
      ask();
      while (true) {
        while (!replies.length) await new Promise((resolve) => (wake = resolve));
        const reply = replies.shift();
        if (reply instanceof Error) throw reply;
        if (reply.type === "end") return;
        yield reply;
      }
    })();
    const leave = stream.return.bind(stream);
    stream.return = (value) => {
      stop(); // also while it waits for a reply
      return leave(value);
    };
    return stream;
  }

  close(code = 1000, reason = "") {
    if (this.state === "closed") return;
    this.#ws?.close(code, reason);
    this.#finish({ code, reason });
  }

  handleEvent({ type }) {
    if (type === "pagehide") {
      // The browser may keep the page: its user has gone all the same.
      this.#drop();
      this.#show("waiting");
    } else if (type === "pageshow" || !page?.hidden) {
      if (this.state === "open") this.#check();
      if (this.state === "waiting") this.#connectIn(this.#notBefore - performance.now());
    }
  }

  #connectIn(delay) {
    this.#setTimer(() => this.#connect(), Math.max(0, delay));
  }

  async #connect() {
    const attempt = (this.#attempt = {});
    this.#setTimer(() => this.#lose(1006, "no answer"), CONNECT_TIMEOUT);
    this.#show("connecting");
    const { token, scheme = "bearer" } = this.#options;
    try {
      const [url, secret] = await Promise.all([this.#url, token].map(call));
      if (attempt !== this.#attempt) return;
      const offer = secret ? [SUBPROTOCOL, scheme, secret] : SUBPROTOCOL;
      this.#ws = new WebSocket(this.#address(url), offer);
    } catch (error) {
      console.warn(error);
      if (attempt === this.#attempt) this.#lose(1006, "", error);
      return;
    }
    const ws = this.#ws;
    const unlessLate = (handle) => (event) => attempt === this.#attempt && handle(event);
    ws.binaryType = "arraybuffer";
    ws.onopen = unlessLate(() => this.#open());
    ws.onmessage = unlessLate(({ data }) => this.#receive(data));
    ws.onclose = unlessLate(({ code, reason }) => this.#lose(code, reason));
  }

  #address(url) {
    const address = new URL(url, page?.baseURI ?? globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.hash = "";
    address.search += `${address.search ? "&" : "?"}wsc=${this.#parameter()}`;
    return address.href;
  }

  /** Say who and where we are: of the groups as many as there is room for. */
  #parameter() {
    const live = this.#options.live;
    const encode = (at) => base64({ id: this.#id, at: Object.fromEntries(at), live });
    const at = [];
    this.#cut.clear();
    for (const entry of [...this.#at].reverse()) {
      if (encode([...at, entry]).length > MAX_PARAMETER) this.#cut.add(entry[0]);
      else at.push(entry);
    }
    return encode(at);
  }

  #open() {
    if (this.#ws.protocol !== SUBPROTOCOL) {
      this.#finish({ code: 1006, reason: `the server does not speak ${SUBPROTOCOL}` });
      return;
    }
    this.#expect(PING);
    this.#show("open");
  }

  #expect(seconds) {
    this.#silence = 2_000 * seconds;
    this.#seen = Date.now();
    this.#check();
  }

  /** Look when something came last, by the date: timers stand still while a laptop sleeps. */
  #check(isLate = false) {
    const now = Date.now();
    this.#seen = Math.min(this.#seen, now); // the clock was put back
    const left = this.#seen + this.#silence - now;
    if (left > 0) this.#setTimer(() => this.#check(), left);
    else if (isLate) this.#lose(1006, "no sign of life");
    else this.#setTimer(() => this.#check(true), GRACE);
  }

  #receive(data) {
    this.#seen = Date.now();
    const [header, payload] = split(data);
    const { ping, joined, group, offset } = header;
    if (ping) {
      this.#ws.send(`${MARK}{"pong":1}`);
      this.#failures = 0;
      this.#wasRefused = false;
      this.#expect(ping);
    }
    if (joined !== undefined) this.#join(header);
    if (this.#at.has(group) && offset) this.#move(group, this.#at.get(group)[0], offset);
    if (payload !== undefined) this.#deliver(payload, group, offset);
  }

  #join({ joined: group, epoch, offset, reload, seconds }) {
    const isElsewhere = `${this.#at.get(group)}` !== `${[epoch, offset]}`;
    const wasCut = this.#cut.delete(group);
    this.#move(group, epoch, offset);
    if (!(reload ?? (wasCut && isElsewhere)) || this.#late.has(group)) return;
    this.#late.add(group);
    const tell = () => this.#late.delete(group) && this.#emit("reload", { group });
    if (seconds) setTimeout(tell, Math.random() * seconds * 1_000);
    else tell();
  }

  #move(group, epoch, offset) {
    this.#at.delete(group);
    this.#at.set(group, [epoch, offset]);
  }

  #deliver(payload, group, offset) {
    const text = typeof payload === "string" ? payload : undefined;
    const data = text === undefined ? payload : parse(text);
    const asked = group === undefined && this.#asked.get(data?.ref);
    if (!asked) {
      this.#emit("message", { data, text, group, offset });
      return;
    }
    const isError = data.type === "error";
    if (isError || data.type === "end" || !asked.isStream) this.#asked.delete(data.ref);
    asked.take(isError ? new MessageError(data) : data);
  }

  #ask(message, take, isStream) {
    const ref = ++this.#lastRef;
    if (this.send({ ...message, ref })) this.#asked.set(ref, { take, isStream });
    else take(new ConnectionLost(false));
    return ref;
  }

  /** The connection is gone: come back, unless the server does not want us. */
  #lose(code, reason, error) {
    const isRefused = code === 4401;
    if ((code >= 4500 && code <= 4999) || (isRefused && this.#wasRefused)) {
      this.#finish({ code, reason });
      return;
    }
    this.#drop();
    this.#wasRefused ||= isRefused;
    const after = /\bafter=(\d+)/.exec(reason)?.[1] ?? 0;
    const pause = isRefused ? LOGIN_DELAY : Math.min(after, MAX_AFTER) * 1_000;
    // Those who were lost together don't return together.
    const backoff = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    const spread = page?.hidden ? HIDDEN_DELAY : backoff;
    const delay = pause + (isRefused ? 0 : Math.random() * spread);
    this.#notBefore = performance.now() + pause;
    this.#connectIn(delay);
    this.#show("waiting", { code, reason, error, delay });
  }

  #finish(detail) {
    for (const type of EVENTS) globalThis.removeEventListener?.(type, this);
    this.#late.clear();
    this.#drop();
    this.#show("closed", detail);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#attempt = undefined;
    this.#ws?.close();
    this.#ws = undefined;
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { take } of asked) take(new ConnectionLost(true));
  }

  #setTimer(handle, delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(handle, delay);
  }

  #show(state, detail) {
    this.state = state;
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const call = (value) => (typeof value === "function" ? value() : value);

const hex = (bytes) => Array.from(bytes, (byte) => (256 + byte).toString(16).slice(1)).join("");

function base64(value) {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Return the header of a frame, and its payload if it has one. */
function split(data) {
  const isText = typeof data === "string";
  const units = isText ? data : new Uint8Array(data);
  if (units[0] !== (isText ? MARK : 0x1e)) return [{}, data];
  const end = units.indexOf(isText ? "\n" : 10);
  const head = units.slice(1, end < 0 ? undefined : end);
  const header = JSON.parse(isText ? head : new TextDecoder().decode(head));
  return end < 0 ? [header] : [header, data.slice(end + 1)];
}
