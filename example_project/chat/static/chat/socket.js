// A WebSocket that comes back when it is closed and asks for replies, and what both pages do with it.

const LONGEST_DELAY = 30_000; // milliseconds
const STABLE_AFTER = 10_000; // a socket that stayed this long starts from a short delay again

export class Socket {
  // `opened` is called each time that it has opened, `receive` with each message that nobody asked
  // for. `section` has the path in data-socket, is given data-state, and has an element to say it in.
  constructor(section, { opened, receive }) {
    this.section = section;
    this.state = section.querySelector("[data-part=state]");
    this.hasOpened = opened;
    this.receive = receive;
    this.lastRef = 0;
    this.requests = new Map(); // of refs to what waits for the reply
    this.failures = 0;
    this.hasLeft = false;
    this.connect();
    // The browser may keep a page that the visitor has left; the others must not see them as present.
    addEventListener("pagehide", () => this.leave());
  }

  leave() {
    this.hasLeft = true;
    this.socket.close();
  }

  connect() {
    const url = new URL(this.section.dataset.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.openedAt = null;
    this.socket = new WebSocket(url);
    this.socket.addEventListener("open", () => this.opened());
    this.socket.addEventListener("message", (event) => this.received(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => this.closed(event));
    this.show("connecting", "connecting");
  }

  opened() {
    this.openedAt = Date.now();
    this.show("open", "open");
    this.hasOpened();
  }

  received(message) {
    const request = this.requests.get(message.ref);
    if (!request) {
      this.receive(message);
      return;
    }
    this.requests.delete(message.ref);
    if (message.type === "error") request.reject(new MessageError(message));
    else request.resolve(message);
  }

  closed({ code }) {
    for (const { reject } of this.requests.values()) reject(new ConnectionLost());
    this.requests.clear();
    if (this.hasLeft) return; // the page is loaded again when it is shown again
    if (this.openedAt === null) leaveIfNotWelcome();
    else if (Date.now() - this.openedAt > STABLE_AFTER) this.failures = 0;
    if (isFinal(code)) {
      this.show("closed", `closed (${code}); reload the page to come back`);
      return;
    }
    const delay = backoff(this.failures++);
    this.show("connecting", `closed; back in ${Math.ceil(delay / 1000)} s`);
    setTimeout(() => this.connect(), delay);
  }

  // Returns whether it could be sent.
  send(message) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  // Resolves to the reply.
  request(message) {
    const ref = ++this.lastRef;
    if (!this.send({ ...message, ref })) return Promise.reject(new NotSent());
    return new Promise((resolve, reject) => this.requests.set(ref, { resolve, reject }));
  }

  show(state, text) {
    this.section.dataset.state = state;
    this.state.textContent = text;
  }
}

// Why there is no reply.

export class NotSent extends Error {
  message = "Not sent: there is no connection. Try again when it is back.";
}

export class ConnectionLost extends Error {
  message = "The connection was lost before an answer came.";
}

export class MessageError extends Error {
  constructor({ code, detail }) {
    super(detail || code);
    this.code = code;
  }
}

// For a request that is made again when the socket has come back.
export function ignoreLoss(error) {
  if (!(error instanceof ConnectionLost)) throw error;
}

// The server does not want us back: a policy was broken, or it says so with a code of ours.
function isFinal(code) {
  return code === 1008 || (code >= 4500 && code <= 4999);
}

// Twice as long each time, and never the same for all who lost the server at one moment.
function backoff(failures) {
  const longest = Math.min(LONGEST_DELAY, 1_000 * 2 ** failures);
  return longest * (0.5 + Math.random() / 2);
}

// A WebSocket does not tell why it was refused, but a request for the page does: the login has
// ended, or the room is gone. If the server is away, neither gets an answer.
async function leaveIfNotWelcome() {
  try {
    const response = await fetch(location.href, { method: "HEAD" });
    if (response.redirected || response.status === 404) location.reload();
  } catch {
    // the server is away
  }
}

// Put an element where its data-id belongs; `order` is 1 for ascending, -1 for descending.
// What is there already stays, so it does no harm to be told twice.
export function insert(list, element, order) {
  const id = Number(element.dataset.id);
  const rank = (other) => order * (Number(other.dataset.id) - id);
  const before = [...list.children].findLast((other) => rank(other) <= 0);
  if (before && rank(before) === 0) return false;
  if (before) before.after(element);
  else list.prepend(element);
  return true;
}

// A page that the browser kept may show another user than the one who is logged in by now.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
