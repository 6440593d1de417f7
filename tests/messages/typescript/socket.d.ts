// A client as the interfaces of routes are meant for: it sends what the server takes, asks what is
// answered, and streams what is streamed.

interface Route {
  url: string;
  codec: string;
  send: { type: string };
  request: object;
  stream: object;
  broadcast: unknown;
  error: string;
}

interface JsonRoute extends Route {
  codec: "json";
}

type Asking<R extends Route, T> = { type: T } & Extract<R["send"], { type: T }>;

export class MessageError<R extends Route> extends Error {
  code: R["error"];
}

export class Socket<R extends JsonRoute> {
  constructor(url: R["url"] | (() => Promise<R["url"]>));
  send(message: R["send"]): boolean;
  request<T extends keyof R["request"]>(message: Asking<R, T>): Promise<R["request"][T]>;
  stream<T extends keyof R["stream"]>(message: Asking<R, T>): AsyncIterable<R["stream"][T]>;
  addEventListener(
    type: "message",
    listener: (event: CustomEvent<{ data: R["broadcast"] }>) => void,
  ): void;
}
