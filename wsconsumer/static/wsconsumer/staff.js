// Keeps the page of wsconsumer.staff up to date: by a websocket, and where that fails by asking again.

import { Socket } from "./socket.js";

const PERIOD = 4_000; // milliseconds between two questions without a websocket, and to the first

const place = document.querySelector("#connections");
const refreshed = document.querySelector("#refreshed");
const trouble = document.querySelector("#trouble");
let socket, timer;
let isHeld = false;

// A click, or a text that is being copied, is let be: the next table comes soon.
place.addEventListener("pointerdown", () => (isHeld = true));
for (const type of ["pointerup", "pointercancel"]) {
  addEventListener(type, () => setTimeout(() => (isHeld = false)));
}

function isInUse() {
  const selection = getSelection();
  return isHeld || (!selection.isCollapsed && place.contains(selection.anchorNode));
}

function show(html) {
  if (isInUse()) return;
  const id = document.activeElement?.id;
  const left = place.querySelector(".results")?.scrollLeft;
  place.innerHTML = html; // the server has escaped what came from others
  if (left) place.querySelector(".results")?.scrollTo({ left });
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
  refreshed.textContent = `As of ${new Date().toLocaleTimeString()}.`;
}

async function ask() {
  try {
    const response = await fetch(place.dataset.table, { redirect: "error" });
    if (!response.ok) throw new Error(response.status);
    const html = await response.text();
    if (timer === undefined) return; // the socket has opened
    show(html);
    say("No WebSocket opens here, so the page asks again every few seconds.");
  } catch {
    if (timer !== undefined) say("The page is not refreshed: the server does not answer, or you are logged out.");
  }
}

function say(text) {
  if (trouble.textContent !== text) trouble.textContent = text;
}

function stopAsking() {
  clearInterval(timer);
  timer = undefined;
}

function begin() {
  socket = new Socket(place.dataset.watch);
  socket.addEventListener("message", ({ detail }) => show(detail.text));
  socket.addEventListener("state", ({ detail: { state } }) => {
    if (state === "open") {
      stopAsking();
      say("");
    } else if (state !== "connecting" && timer === undefined && !document.hidden) {
      timer = setInterval(ask, PERIOD); // a socket that is soon back needs none
    }
  });
}

function end() {
  socket.close();
  stopAsking();
}

// Nobody is asked for a page that nobody sees.
document.addEventListener("visibilitychange", () => (document.hidden ? end() : begin()));
begin();
