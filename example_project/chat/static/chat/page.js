// What both pages do: show how the socket is doing, and put things in their place.

import { ConnectionLost, Socket } from "../wsconsumer/socket.js";

const REFUSALS = [4401, 4503, 4504]; // the login has ended, or the room is gone

// Open the socket of a section, which has the path in data-socket, is given data-state, and has an
// element to say it in. In data-live it has the positions of its groups, if they keep. `opened` is
// called each time that it has opened, `receive` with each message that nobody asked for.
export function connect(section, { opened, receive }) {
  const words = section.querySelector("[data-part=state]");
  const socket = new Socket(section.dataset.socket, { live: section.dataset.live });
  socket.addEventListener("message", ({ detail }) => receive(detail.data));
  socket.addEventListener("state", ({ detail }) => {
    section.dataset.state = detail.state;
    words.textContent = inWords(detail);
    if (detail.state === "open") opened();
    if (detail.state === "closed" && REFUSALS.includes(detail.code)) location.reload();
  });
  return socket;
}

function inWords({ state, code, delay }) {
  if (state === "closed") return `closed (${code}); reload the page to come back`;
  if (state === "waiting" && delay !== undefined) return `closed; back in ${Math.ceil(delay / 1000)} s`;
  return state;
}

// Say why there is no reply.
export function explain(error) {
  if (!(error instanceof ConnectionLost)) return error.message;
  if (error.sent) return "The connection was lost before an answer came.";
  return "Not sent: there is no connection. Try again when it is back.";
}

// For a request that is made again when the socket has come back.
export function ignoreLoss(error) {
  if (!(error instanceof ConnectionLost)) throw error;
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
