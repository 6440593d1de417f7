// A browser without a browser: a window, a document, a clock, and sockets whose server is the test.

export const clock = {
  now: 1_000_000, // the date, which goes on while a laptop sleeps
  ran: 0, // what timers count
  timers: new Map(),
  next: 1,

  advance(milliseconds) {
    const end = this.ran + milliseconds;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
      if (!due.length) break;
      const [id, { at, handle }] = due[0];
      this.timers.delete(id);
      this.now += at - this.ran;
      this.ran = at;
      handle();
    }
    this.now += end - this.ran;
    this.ran = end;
  },
};

globalThis.setTimeout = (handle, delay) => {
  clock.timers.set(clock.next, { at: clock.ran + delay, handle });
  return clock.next++;
};
globalThis.clearTimeout = (id) => clock.timers.delete(id);
Date.now = () => clock.now;
performance.now = () => clock.ran;

const window = new EventTarget();
globalThis.addEventListener = window.addEventListener.bind(window);
globalThis.removeEventListener = window.removeEventListener.bind(window);
export const happen = (type) => window.dispatchEvent(new Event(type));

export const document = { hidden: false, baseURI: "https://example.com/rooms/lobby/" };
if (!process.env.WORKER) globalThis.document = document;
else globalThis.location = { href: document.baseURI };

export class Server {
  static all = [];
  static CONNECTING = 0;
  readyState = 0;
  protocol = "";
  sent = [];
  closes = [];

  constructor(url, protocols) {
    if (url.includes("bad")) throw new SyntaxError("The URL is invalid.");
    this.url = new URL(url);
    this.protocols = [protocols].flat();
    Server.all.push(this);
  }

  static get last() {
    return Server.all.at(-1);
  }

  // What a client does.

  send(data) {
    this.sent.push(data);
  }

  close(...how) {
    this.closes.push(how);
    this.readyState = 3;
  }

  // What the server does.

  accept(protocol = "wsconsumer.v1") {
    this.readyState = 1;
    this.protocol = protocol;
    this.onopen?.({});
    return this;
  }

  say(data) {
    this.onmessage({ data: typeof data === "string" ? data.replace("⏎", "\n").replaceAll("␞", "\x1e") : data });
  }

  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  // The parameter of the URL.
  get wsc() {
    return JSON.parse(Buffer.from(this.url.searchParams.get("wsc"), "base64url").toString());
  }
}

globalThis.WebSocket = Server;

// Let promises go on.
export const turn = () => new Promise((resolve) => setImmediate(resolve));

const { Socket, ConnectionLost, MessageError } = await import(process.env.SOCKET_JS);
export { ConnectionLost, MessageError };

let sockets = [];

// Make a socket, and record what it tells.
export async function page(url = "/ws/room/", options) {
  const socket = new Socket(url, options);
  sockets.push(socket);
  socket.told = [];
  socket.states = [];
  for (const type of ["message", "reload"]) {
    socket.addEventListener(type, ({ detail }) => socket.told.push({ type, ...detail }));
  }
  socket.addEventListener("state", ({ detail }) => socket.states.push(detail));
  await turn();
  return socket;
}

// Make one that is open.
export async function opened(url, options) {
  const socket = await page(url, options);
  Server.last.accept();
  return socket;
}

// Let it come back, and return what it comes to.
export async function back() {
  const before = Server.all.length;
  clock.advance(Math.min(...[...clock.timers.values()].map(({ at }) => at)) - clock.ran);
  await turn();
  if (Server.all.length !== before + 1) throw new Error(`${Server.all.length - before} attempts`);
  return Server.last;
}

export function closeAll() {
  for (const socket of sockets) socket.close();
  sockets = [];
  document.hidden = false;
  if (clock.timers.size) throw new Error("a timer was left behind");
}
