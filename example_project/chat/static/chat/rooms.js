// The list of rooms. The socket tells all of them when it opens, and each new one as it is made.

import { Socket, insert } from "./socket.js";

const section = document.querySelector("#rooms");
const list = section.querySelector("[data-part=list]");
const template = document.querySelector("#room");

new Socket(section, ({ rooms }) => {
  for (const { id, name, url } of rooms) {
    const entry = template.content.cloneNode(true).firstElementChild;
    entry.dataset.id = id;
    entry.querySelector("a").href = url;
    entry.querySelector("a").textContent = name;
    insert(list, entry, -1); // the newest first
  }
});
