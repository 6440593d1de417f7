// Do what the test of docs/protocol.md asks, and print what the client made of it.

import { closeAll, opened, page, Server, back, clock, turn } from "./fakes.mjs";

const { codes, frames, sends } = JSON.parse(process.env.ASKED);
const answer = { codes: {}, frames: {}, sends: {} };

for (const code of codes) {
  const socket = await opened();
  Server.last.end(code);
  let fate = "stays away";
  if (socket.state === "waiting") {
    const { delay } = socket.states.at(-1);
    const server = await back();
    server.accept().end(code);
    fate = socket.state === "closed" ? `comes back once, after ${delay}` : "comes back";
  }
  answer.codes[code] = fate;
  closeAll();
}

for (const frame of frames) {
  const socket = await opened();
  Server.last.say('␞{"joined":"room.lobby","epoch":"5fe2","offset":40}');
  Server.last.say(frame);
  const told = [...socket.told];
  const sent = [...Server.last.sent];
  clock.advance(30_000);
  const later = socket.told.slice(told.length);
  Server.last.end();
  answer.frames[frame] = { told, later, sent, at: (await back()).wsc.at["room.lobby"] };
  closeAll();
}

for (const [name, data] of Object.entries(sends)) {
  const socket = await opened();
  socket.send(data);
  answer.sends[name] = Server.last.sent;
  closeAll();
}

console.log(JSON.stringify(answer));
