// A room. The page comes with the last messages. Its socket goes on from there, and after a loss
// from where it was.

import { cut } from "./cut.js";
import { connect, explain, ignoreLoss, insert } from "./page.js";

const HINT_EVERY = 2_000; // milliseconds between two hints that we type
const HINT_LASTS = 4_000;
const CUT_LASTS = 8; // seconds, as the page says

const DRAFT = `draft of ${location.pathname}`;

const template = document.querySelector("#message");

class Room {
  constructor(section) {
    this.section = section;
    for (const element of section.querySelectorAll("[data-part]")) {
      this[element.dataset.part] = element; // process, state, messages, typing, form, error, cut
    }
    this.input = this.form.elements.text;
    this.typists = new Map(); // of names to timers
    this.hintedAt = 0;
    this.socket = connect(section, {
      opened: () => this.enter(),
      receive: (message) => this[HANDLERS[message.type]]?.(message),
    });
    this.socket.addEventListener("state", ({ detail }) => (this.cut.disabled = detail.state !== "open"));
    this.socket.addEventListener("reload", () => this.reload());
    this.form.addEventListener("submit", (event) => this.say(event));
    this.input.addEventListener("input", () => this.hint());
    this.cut.addEventListener("click", () => cut(CUT_LASTS));
    for (const entry of this.messages.children) this.tellTime(entry);
    this.scrollToEnd();
    this.takeDraft();
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
    if (welcome) this.process.textContent = `served by process ${welcome.process}`;
  }

  // More was missed than the group keeps, or the server has forgotten it.
  reload() {
    sessionStorage.setItem(DRAFT, this.input.value);
    location.reload();
  }

  takeDraft() {
    const draft = sessionStorage.getItem(DRAFT);
    if (draft) this.input.value = draft;
    sessionStorage.removeItem(DRAFT);
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
    entry.dataset.id = id;
    entry.classList.toggle("own", author === this.section.dataset.user);
    entry.querySelector("b").textContent = author;
    entry.querySelector("time").dateTime = sent_at;
    entry.querySelector("p").textContent = text;
    this.tellTime(entry);
    insert(this.messages, entry, 1);
  }

  // In the time zone of the visitor, which only the browser knows.
  tellTime(entry) {
    const time = entry.querySelector("time");
    const sentAt = new Date(time.dateTime);
    time.textContent = sentAt.toTimeString().slice(0, 5);
    time.title = sentAt.toLocaleString();
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
