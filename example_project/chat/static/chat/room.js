// A room. The socket tells the last messages when it opens, and each new one as it is said.

import { Socket, insert } from "./socket.js";

const HINT_EVERY = 2_000; // milliseconds between two hints that we type
const HINT_LASTS = 4_000;

const template = document.querySelector("#message");

class Room {
  constructor(section) {
    this.section = section;
    for (const element of section.querySelectorAll("[data-part]")) {
      this[element.dataset.part] = element; // process, state, messages, typing, form, error
    }
    this.input = this.form.elements.text;
    this.typists = new Map(); // of names to timers
    this.hintedAt = 0;
    this.said = ""; // what was sent last, until it comes back
    this.socket = new Socket(section, (event) => this[EVENTS[event.type]](event));
    this.form.addEventListener("submit", (event) => this.say(event));
    this.input.addEventListener("input", () => this.hint());
  }

  // What the visitor does

  say(event) {
    event.preventDefault();
    const text = this.input.value;
    if (!this.socket.send({ type: "say", text })) {
      this.error.textContent = "Not sent: there is no connection. Try again when it is back.";
      return;
    }
    this.said = text;
    this.hintedAt = 0;
    this.input.value = "";
    this.error.textContent = "";
  }

  hint() {
    if (!this.input.value || Date.now() - this.hintedAt < HINT_EVERY) return;
    if (this.socket.send({ type: "typing" })) this.hintedAt = Date.now();
  }

  // What the server tells

  welcomed({ process, messages }) {
    this.process.textContent = `served by process ${process}`;
    if (messages.length && !this.has(messages[0])) {
      this.forgetBefore(messages[0]); // more was missed than we are told now
    }
    for (const message of messages) this.add(message);
    this.scrollToEnd();
  }

  heard(message) {
    const wasAtEnd = this.isAtEnd();
    this.add(message);
    this.stopTyping(message.author);
    if (wasAtEnd || message.author === this.section.dataset.user) this.scrollToEnd();
  }

  typed({ author }) {
    clearTimeout(this.typists.get(author));
    this.typists.set(author, setTimeout(() => this.stopTyping(author), HINT_LASTS));
    this.showTypists();
  }

  refused({ detail }) {
    this.error.textContent = detail;
    if (!this.input.value) this.input.value = this.said; // to be mended, not written anew
  }

  // What is shown. All that people wrote is set as text, never as HTML.

  add({ id, author, text, sent_at }) {
    const entry = template.content.cloneNode(true).firstElementChild;
    const sentAt = new Date(sent_at);
    entry.dataset.id = id;
    entry.classList.toggle("own", author === this.section.dataset.user);
    entry.querySelector("b").textContent = author;
    entry.querySelector("time").dateTime = sent_at;
    entry.querySelector("time").textContent = sentAt.toTimeString().slice(0, 5);
    entry.querySelector("time").title = sentAt.toLocaleString();
    entry.querySelector("p").textContent = text;
    insert(this.messages, entry, 1);
  }

  has({ id }) {
    return this.messages.querySelector(`[data-id="${Number(id)}"]`) !== null;
  }

  forgetBefore({ id }) {
    for (const entry of [...this.messages.children]) {
      if (Number(entry.dataset.id) < id) entry.remove();
    }
  }

  stopTyping(author) {
    clearTimeout(this.typists.get(author));
    this.typists.delete(author);
    this.showTypists();
  }

  showTypists() {
    const names = [...this.typists.keys()];
    const who = names.length > 3 ? "Several people" : names.join(", ");
    this.typing.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing …` : "";
  }

  isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.messages;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  scrollToEnd() {
    this.messages.scrollTop = this.messages.scrollHeight;
  }
}

// By the type of what the server sends
const EVENTS = { welcome: "welcomed", message: "heard", typing: "typed", error: "refused" };

new Room(document.querySelector("#room"));
