// Tries what the page of wsconsumer.messages.docs describes: a socket for each route.

const CLOSE_CODES = JSON.parse(document.querySelector("#close-codes").textContent);
const LONGEST_LOG = 200; // entries, and replies of one request; the oldest go
const template = document.querySelector("#entry");

class Route {
  constructor(section) {
    this.pieces = section.querySelectorAll("[data-part=piece]");
    for (const element of section.querySelectorAll("[data-part]")) {
      element.hidden = false;
      this[element.dataset.part] = element; // connect, toggle, state, send, problem, log, clear
    }
    this.message = this.send.elements.message;
    this.lastRef = 0;
    this.requests = new Map(); // of refs to what was sent
    this.connect.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.socket) this.leave();
      else this.open().catch(() => {}); // why is shown
    });
    this.send.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.send.requestSubmit();
    });
    this.clear.addEventListener("click", () => this.log.replaceChildren());
    this.kinds = new Map(); // of types to what is known of them
    for (const button of section.querySelectorAll("[data-example]")) {
      button.hidden = false;
      button.addEventListener("click", () => this.use(button.dataset.example));
      this.kinds.set(button.dataset.type, button.dataset);
    }
    this.show("closed", "Not connected");
  }

  // The connection

  get path() {
    const part = (piece) => (piece.matches("input") ? this.encoded(piece) : piece.textContent);
    return Array.from(this.pieces, part).join("");
  }

  // The whole address is written by hand where it can't be told what its parameters are.
  encoded(input) {
    return input.name === "address" ? input.value : encodeURIComponent(input.value);
  }

  // Resolves when the socket is open; rejects when it is refused.
  open() {
    if (this.opening) return this.opening;
    const url = new URL(this.path, location.href);
    const socket = new WebSocket(Object.assign(new URL(url), { protocol: url.protocol.replace("http", "ws") }));
    this.socket = socket;
    this.show("connecting", "Connecting …");
    this.opening = new Promise((resolve, reject) => {
      socket.addEventListener("open", () => {
        this.wasOpen = true;
        this.show("open", `Connected to ${url.pathname}`);
        resolve();
      });
      socket.addEventListener("close", (event) => {
        this.closed(event, url);
        reject();
      });
    });
    this.wasOpen = this.hasLeft = false;
    socket.addEventListener("message", ({ data }) => this.received(data));
    return this.opening;
  }

  leave() {
    this.hasLeft = true;
    this.socket.close(1000);
  }

  async closed({ code, reason }, url) {
    const { wasOpen } = this;
    this.socket = this.opening = null;
    for (const request of this.requests.values()) request.finish("no answer: the connection is closed");
    this.requests.clear();
    if (wasOpen) {
      const words = [CLOSE_CODES[code], reason].filter(Boolean).join(": ");
      const text = `Closed with ${code}${words && ` (${words})`}`;
      this.show("closed", text);
      this.add(this.log, "note", text);
    } else if (this.hasLeft) {
      this.show("closed", "Not connected");
    } else {
      this.show("refused", "Refused");
      const why = await whyRefused(url);
      if (!this.socket) this.show("refused", `Refused: ${why}`);
    }
  }

  show(state, text) {
    this.state.dataset.state = state;
    this.state.textContent = text;
    this.toggle.textContent = this.socket ? "Disconnect" : "Connect";
  }

  // Sending

  use(example) {
    this.message.value = example;
    this.complain("");
    this.message.focus();
    this.message.setSelectionRange(0, 0);
    this.message.scrollIntoView({ block: "nearest" });
  }

  async submit() {
    const message = this.read();
    if (!message || !this.connect.reportValidity()) return;
    try {
      await this.open();
    } catch {
      return; // why is shown
    }
    message.ref ??= this.newRef();
    this.socket?.send(JSON.stringify(message));
    this.requests.get(message.ref)?.finish("given up: another has its ref");
    const request = new Request(this, message);
    this.requests.set(message.ref, request);
  }

  newRef() {
    do this.lastRef++;
    while (this.requests.has(this.lastRef));
    return this.lastRef;
  }

  read() {
    let message;
    try {
      message = JSON.parse(this.message.value);
    } catch (error) {
      this.complain(`This is not JSON: ${error.message}`);
      return null;
    }
    const isObject = message !== null && typeof message === "object" && !Array.isArray(message);
    this.complain(isObject ? "" : 'A message is an object: {"type": …}');
    return isObject ? message : null;
  }

  complain(text) {
    this.problem.textContent = text;
    this.message.setAttribute("aria-invalid", text !== "");
  }

  // Receiving

  received(data) {
    const message = parsed(data);
    const request = this.requests.get(message?.ref);
    if (request) request.answered(message);
    else if (message) this.add(this.log, kindOf(message), message.type, message);
    else this.add(this.log, "received", typeof data === "string" ? data : "binary data");
  }

  // Adds an entry to a list; follows the end of the log unless somebody reads further up.
  add(list, kind, title, payload) {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 40;
    const entry = template.content.cloneNode(true).firstElementChild;
    entry.dataset.kind = kind;
    entry.querySelector("time").textContent = new Date().toTimeString().slice(0, 8);
    entry.querySelector("b").textContent = title;
    if (payload !== undefined) entry.querySelector("pre").textContent = written(payload);
    list.append(entry);
    while (list.children.length > LONGEST_LOG) list.firstElementChild.remove();
    if (isAtEnd) this.log.scrollTop = this.log.scrollHeight;
    return entry;
  }
}

// What was sent, and all that it is answered with.
class Request {
  constructor(route, message) {
    this.route = route;
    this.ref = message.ref;
    this.sentAt = performance.now();
    this.count = 0;
    this.isStream = route.kinds.get(message.type)?.isStream !== undefined;
    this.entry = route.add(route.log, "sent", message.type, message);
    this.outcome = this.entry.querySelector(".outcome");
    this.replies = this.entry.querySelector(".replies");
    this.cancel = this.entry.querySelector("button");
    this.outcome.textContent = "waits for an answer";
    this.cancel.hidden = route.kinds.get(message.type)?.isTask === undefined;
    this.cancel.addEventListener("click", () => {
      route.socket?.send(JSON.stringify({ type: "cancel", ref: this.ref }));
    });
  }

  answered(message) {
    const isLast = !this.isStream || ["end", "error"].includes(message.type);
    if (message.type !== "end") this.route.add(this.replies, kindOf(message), message.type, message);
    if (isLast) {
      const time = `${Math.round(performance.now() - this.sentAt)} ms`;
      this.route.requests.delete(this.ref);
      this.finish(this.isStream ? `${this.items}, ended after ${time}` : time);
    } else {
      this.count++;
      this.outcome.textContent = this.items;
    }
  }

  get items() {
    return this.count === 1 ? "1 item" : `${this.count} items`;
  }

  finish(text) {
    this.outcome.textContent = text;
    this.cancel.remove();
  }
}

function parsed(data) {
  try {
    const message = JSON.parse(data);
    return message?.type ? message : null;
  } catch {
    return null;
  }
}

// A short message is a line.
function written(message) {
  const text = JSON.stringify(message, null, 2);
  const line = text.replace(/\n\s*/g, " ");
  return line.length <= 72 ? line : text;
}

function kindOf(message) {
  return message.type === "error" ? "failed" : "received";
}

// A browser does not tell why a socket was refused, but a plain request of its address shows much.
async function whyRefused(url) {
  let response;
  try {
    response = await fetch(url, { redirect: "manual" });
  } catch {
    return "the server does not answer.";
  }
  if (response.type === "opaqueredirect") {
    return "the address redirects, as login_required() does for those who may not come in.";
  }
  if (response.status === 426) {
    return "the consumer said no, in connect() or dispatch(). If it was the Origin, the server's log says so.";
  }
  const words = { 401: "you are not logged in", 403: "you may not connect", 404: "there is nothing at this address" };
  return `${words[response.status] ?? "the server answers a plain request"} (${response.status}).`;
}

for (const section of document.querySelectorAll(".route[data-codec=json]")) new Route(section);
