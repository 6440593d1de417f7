// One card, one WebSocket. Everything that happens on the socket becomes a line in the card's log.

const STATES = ["connecting", "open", "closing", "closed"]; // by WebSocket.readyState
const LINES_KEPT = 200;

const lineTemplate = document.querySelector("#entry");

class SocketCard {
  constructor(card) {
    this.card = card;
    for (const element of card.querySelectorAll("[data-part]")) {
      this[element.dataset.part] = element; // state, toggle, log, and where there is one: form, latest
    }
    this.toggle.addEventListener("click", () => (this.isLive() ? this.disconnect() : this.connect()));
    this.form?.addEventListener("submit", (event) => this.submit(event));
    this.connect();
  }

  connect() {
    const url = new URL(this.card.dataset.socket, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.wasOpen = false;
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("open", () => this.opened());
    this.socket.addEventListener("message", (event) => this.receive(event.data));
    this.socket.addEventListener("close", (event) => this.closed(event));
    this.note(`connecting to ${url}`);
    this.showState();
  }

  opened() {
    this.wasOpen = true;
    this.note("open");
    this.showState();
  }

  disconnect() {
    this.socket.close(1000, "Disconnect was pressed");
    this.write("sent", "close", "1000 Disconnect was pressed");
    this.showState();
  }

  submit(event) {
    event.preventDefault();
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const input = this.form.elements.text;
    this.send(event.submitter?.value === "bytes" ? new TextEncoder().encode(input.value) : input.value);
    input.value = "";
    input.focus();
  }

  send(data) {
    this.socket.send(data);
    this.write("sent", kindOf(data), readable(data));
  }

  receive(data) {
    this.write("received", kindOf(data), readable(data));
    if (this.latest) this.latest.textContent = data;
  }

  closed({ code, reason, wasClean }) {
    this.write("received", "close", `${code} ${reason || (wasClean ? "no reason given" : "without a closing handshake")}`);
    if (!this.wasOpen) this.note(this.card.dataset.refusal || "never open: a WebSocket does not tell why");
    this.showState();
  }

  isLive() {
    return this.socket.readyState <= WebSocket.OPEN;
  }

  showState() {
    const state = STATES[this.socket.readyState];
    this.card.dataset.state = state;
    this.state.textContent = state;
    this.toggle.textContent = this.isLive() ? "Disconnect" : "Connect";
    for (const button of this.form?.querySelectorAll("button") ?? []) {
      button.disabled = state !== "open";
    }
  }

  note(text) {
    this.write("note", "", text);
  }

  write(direction, kind, text) {
    const line = lineTemplate.content.cloneNode(true).firstElementChild;
    const now = new Date();
    line.dataset.direction = direction;
    line.dataset.kind = kind;
    line.querySelector("time").dateTime = now.toISOString();
    line.querySelector("time").textContent = now.toTimeString().slice(0, 8);
    line.querySelector(".direction").textContent = direction;
    line.querySelector(".kind").textContent = kind;
    line.querySelector(".payload").textContent = text;
    this.log.append(line);
    if (this.log.children.length > LINES_KEPT) this.log.firstElementChild.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }
}

function kindOf(data) {
  return typeof data === "string" ? "text" : "binary";
}

function readable(data) {
  if (typeof data === "string") return data;
  const bytes = new Uint8Array(data);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

const cards = [...document.querySelectorAll("[data-socket]")].map((card) => new SocketCard(card));

// The browser may keep a page that the visitor has left. What it would keep open is closed, so that
// the server knows.
addEventListener("pagehide", () => {
  for (const card of cards) card.socket.close();
});

// A page that the browser kept may show another user than the one who is logged in by now.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
