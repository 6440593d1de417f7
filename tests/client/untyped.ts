// A page's program without the interface of a route; a mark without a mistake is an error.

import { ConnectionLost, MessageError, Socket, type StateDetail } from "./socket";

const room = new Socket("/ws/room/lobby/", { live: "signed", token: async () => null });
new Socket(async () => new URL("wss://example.com/ws/"), { token: "abc", scheme: "Token" });
// @ts-expect-error: no such option
new Socket("/ws/room/lobby/", { tokens: "abc" });

const isSent: boolean = room.send({ anything: 1 });
for (const data of ["text", new Uint8Array(1), new ArrayBuffer(1), new Blob()]) room.send(data);

room.addEventListener("message", ({ detail: { data, text, group, offset } }) => {
  console.log(data.any.thing, text?.length, group?.length, offset?.toFixed());
});
room.addEventListener("reload", ({ detail: { group } }) => console.log(group.length));
room.addEventListener("state", ({ detail }) => show(detail), { once: true });
// @ts-expect-error: no such event
room.addEventListener("messages", () => {});

function show({ state, code, reason, delay, error }: StateDetail): void {
  if (state === "waiting") console.log(delay?.toFixed(), code, reason, error);
  // @ts-expect-error: no such state
  if (state === "closing") return;
}

export async function ask(): Promise<string[]> {
  try {
    return (await room.request({ type: "history" })).lines;
  } catch (error) {
    if (error instanceof MessageError) console.log(error.code, error.detail, error.fields?.text);
    if (error instanceof ConnectionLost) console.log(error.sent);
    throw error;
  }
}

export async function follow(): Promise<void> {
  const lines = room.stream({ type: "tail" });
  for await (const { text } of lines) console.log(text);
  await lines.return();
  room.close(4000, `${isSent}`);
  // @ts-expect-error: it is only read
  room.state = "open";
}
