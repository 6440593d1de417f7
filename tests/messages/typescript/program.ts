// A page's program, with every mistake marked: the compiler complains of a mark without a mistake.

import type { ChatRoomSocket, OrdersSocket, PackedSocket, Sent, SentInput } from "./messages";
import { MessageError, Socket } from "./socket";

const name: string = "lobby";
const room = new Socket<ChatRoomSocket>(`/ws/room/${name}/7/`);
new Socket<ChatRoomSocket>("/ws/room/lobby/12/");
// @ts-expect-error: the second parameter is a number
new Socket<ChatRoomSocket>("/ws/room/lobby/second/");
// @ts-expect-error: another route
new Socket<ChatRoomSocket>("/ws/orders/");
// @ts-expect-error: it speaks no JSON
new Socket<PackedSocket>("/ws/packed/");

room.send({ type: "say", text: "hi" });
room.send({ type: "say", text: "hi", loud: true, ref: 7 });
// @ts-expect-error: a misspelled field
room.send({ type: "say", text: "hi", lout: true });
// @ts-expect-error: a missing field
room.send({ type: "say" });
// @ts-expect-error: an event is nothing that a client may send
room.send({ type: "kick", reason: "" });

export async function ask(): Promise<void> {
  const page = await room.request({ type: "history", before: 40 });
  const lines: string[] = page.lines;
  const ok: "ok" = (await room.request({ type: "say", text: lines.join() })).type;
  const either = await room.request({ type: "search", words: "a b" });
  // @ts-expect-error: it may be an Ok
  either.lines;
  if (either.type === "page") either.lines;
  // @ts-expect-error: text is none
  await room.request({ type: "say", text: 5 });
  // @ts-expect-error: it is a stream
  await room.request({ type: "tail" });
  // @ts-expect-error: no such request
  await room.request({ type: "shout", text: "hi" });
  // @ts-expect-error: a misspelled field, of which the server would never hear
  await room.request({ type: "history", before: 40, limits: 7 });
  console.log(ok);
}

export async function follow(): Promise<void> {
  for await (const line of room.stream({ type: "tail" })) {
    const number: number = line.number;
    // @ts-expect-error: no such field
    line.text;
    console.log(number);
  }
  // @ts-expect-error: it is no stream
  room.stream({ type: "say", text: "hi" });
}

export function listen(): void {
  room.addEventListener("message", ({ detail: { data } }) => {
    switch (data.type) {
      case "said":
        return console.log(data.author, data.loud === true);
      case "left":
        return console.log(data.author);
      default:
        data satisfies never;
    }
  });
}

export function explain(error: MessageError<ChatRoomSocket>): string {
  switch (error.code) {
    case "spam":
      return "Not in this room.";
    case "not_found":
      return "Nothing was found.";
    // @ts-expect-error: no such code
    case "spamm":
    default:
      return error.message;
  }
}

// Without a client of any kind.
export function plainly(socket: WebSocket): void {
  const message: ChatRoomSocket["send"] = { type: "history", before: 40, ref: 1 };
  socket.send(JSON.stringify(message));
  socket.addEventListener("message", ({ data }) => {
    const received: ChatRoomSocket["receive"] = JSON.parse(data);
    if (received.type === "page" && received.ref === 1) console.log(received.lines);
    // @ts-expect-error: it may be something else
    received.lines;
  });
}

// Django's types, as they are on the wire.
export async function order(): Promise<void> {
  const orders = new Socket<OrdersSocket>("/ws/orders/");
  const sent: SentInput = {
    type: "sent",
    placed: new Date().toISOString(),
    price: "9.90",
    number: crypto.randomUUID(),
    state: "open",
    size: 2,
    address: { street: "Main Street" },
    tags: ["new"],
    counts: { apples: 3 },
    position: [1, "b"],
    "on-time": null,
  };
  // @ts-expect-error: a price is text, since a float would round it
  sent.price = 9.9;
  // @ts-expect-error: no such choice
  sent.state = "opened";
  const got: Sent = await orders.request(sent);
  const street: string = got.address.street;
  const zip: string = got.address.zip; // has a default, so it is always there
  const note: string | undefined = got.note; // may be unset
  // @ts-expect-error: so it need not be there
  const always: string = got.note;
  // @ts-expect-error: the client may leave the zip out
  const given: string = sent.address.zip;
  console.log(street, zip, note, always, given);
}

export function unpack(message: PackedSocket["receive"]): void {
  if (message.type !== "blob") return;
  const bytes: Uint8Array = message.data;
  const at: Date = message.at;
  const day: string = message.day;
  console.log(bytes, at, day);
}
