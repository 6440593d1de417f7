// The list of rooms. The page asks for all of them when the socket opens, and is told each new one.

import { connect, ignoreLoss, insert } from "./page.js";

const section = document.querySelector("#rooms");
const list = section.querySelector("[data-part=list]");
const template = document.querySelector("#room");

function show({ rooms }) {
  for (const { id, name, url } of rooms) {
    const entry = template.content.cloneNode(true).firstElementChild;
    entry.dataset.id = id;
    entry.querySelector("a").href = url;
    entry.querySelector("a").textContent = name;
    insert(list, entry, -1); // the newest first
  }
}

const socket = connect(section, {
  opened: () => socket.request({ type: "list" }).then(show, ignoreLoss),
  receive: show,
});
