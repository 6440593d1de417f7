// A room. The page asks for the last messages when the socket opens, and is told each new one.

import { connect, explain, ignoreLoss, insert } from "./page.js";

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
    this.socket = connect(section, {
      opened: () => this.enter(),
      receive: (message) => this[HANDLERS[message.type]]?.(message),
    });
    this.form.addEventListener("submit", (event) => this.say(event));
    this.input.addEventListener("input", () => this.hint());
  }

  // What the visitor does

  async say(event) {
    event.preventDefault();
    const text = this.input.value;
    this.hintedAt = 0;
    this.input.value = "";
    this.error.textContent = "";
    try {
      await this.socket.request({ type: "say", text });
    } catch (error) {
      this.error.textContent = explain(error);
      // To be mended, not written anew. If the connection was lost, it may have been said.
      if (!this.input.value && !error.sent) this.input.value = text;
    }
  }

  hint() {
    if (!this.input.value || Date.now() - this.hintedAt < HINT_EVERY) return;
    if (this.socket.send({ type: "typing" })) this.hintedAt = Date.now();
  }

  // What the server tells

  async enter() {
    const welcome = await this.socket.request({ type: "enter" }).catch(ignoreLoss);
    if (!welcome) return;
    const { process, said } = welcome;
    this.process.textContent = `served by process ${process}`;
    if (said.length && !this.has(said[0])) {
      this.forgetBefore(said[0]); // more was missed than we are told now
    }
    for (const message of said) this.add(message);
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

// By the type of what the server sends without being asked
const HANDLERS = { said: "heard", is_typing: "typed" };

new Room(document.querySelector("#room"));
