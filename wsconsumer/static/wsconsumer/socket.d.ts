/**
 * What a socket sends and gets. `manage.py websocket_types` writes one such interface for each route;
 * without one, anything may be sent, and what comes is `any`.
 */
export interface Route {
  url: string;
  codec: "json";
  send: any;
  request: { [type: string]: any };
  stream: { [type: string]: any };
  broadcast: any;
  error: string;
}

/** The address of a route, with a query or without. */
export type Address<R extends Route> = R["url"] | `${R["url"]}?${string}` | URL;

/** The messages that a route answers with one reply, or with a stream of them. */
type Asking<R extends Route, T> = { type: T } & Extract<R["send"], { type: T }>;

export type State = "connecting" | "open" | "waiting" | "closed";

export interface SocketOptions {
  /** What `position()` or a `LiveView` put into the page. */
  live?: string;
  /**
   * Sent as a subprotocol, never in the URL. A function is asked before each attempt; where it gives
   * nothing, none is sent.
   */
  token?: string | (() => Token | Promise<Token>);
  /** `WSCONSUMER["AUTHORIZATION_SUBPROTOCOL"]` of the server, if it is not "Bearer". */
  scheme?: string;
}

type Token = string | null | undefined;

export interface MessageDetail<Data = any> {
  /** JSON as what it means, other text as it is, binary messages as an `ArrayBuffer`. */
  data: Data;
  /** A text message as it came. */
  text?: string;
  /** The group that it was broadcast to. */
  group?: string;
  /** Its place in the history of a group that keeps. */
  offset?: number;
}

export interface StateDetail {
  state: State;
  /** Why it is waiting or closed: a close code, 1006 if the connection was lost. */
  code?: number;
  reason?: string;
  /** Why there could be no attempt: what the function for the URL or the token raised. */
  error?: unknown;
  /** Milliseconds until the next attempt. */
  delay?: number;
}

/** Where a crowd has to reload, the event comes at a random time, within the seconds that the server says. */
export interface ReloadDetail {
  /** The group of which something is missing. */
  group: string;
}

export interface SocketEvents<R extends Route = Route> {
  message: CustomEvent<MessageDetail<R["broadcast"]>>;
  reload: CustomEvent<ReloadDetail>;
  state: CustomEvent<StateDetail>;
}

type Listener<E> = ((event: E) => void) | { handleEvent(event: E): void };

/** A WebSocket that comes back when it is closed, and goes on where it was. */
export class Socket<R extends Route = Route> extends EventTarget {
  /** Open `url`, relative to the page; a function is asked for it before each attempt. */
  constructor(
    url: Address<R> | (() => Address<R> | Promise<Address<R>>),
    options?: SocketOptions,
  );

  readonly state: State;

  /**
   * Send an object as JSON, text and bytes as they are. False: it is not open, and nothing was sent;
   * nothing is kept for later either.
   */
  send(data: R["send"] | string | Blob | BufferSource): boolean;

  /**
   * Send a message with a `ref` of its own, and return its reply.
   *
   * Rejects with a `MessageError`, or with `ConnectionLost` if the connection ends first.
   */
  request<T extends keyof R["request"]>(message: Asking<R, T>): Promise<R["request"][T]>;

  /**
   * Send a message once it is iterated over, and yield the replies until the stream's end.
   *
   * Leaving the loop cancels the stream, and so does `return()` from elsewhere. Throws as `request()`.
   */
  stream<T extends keyof R["stream"]>(
    message: Asking<R, T>,
  ): AsyncGenerator<R["stream"][T], void, undefined>;

  /** Close it for good. */
  close(code?: number, reason?: string): void;

  addEventListener<K extends keyof SocketEvents<R>>(
    type: K,
    listener: Listener<SocketEvents<R>[K]> | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof SocketEvents<R>>(
    type: K,
    listener: Listener<SocketEvents<R>[K]> | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** There will be no reply. */
export class ConnectionLost extends Error {
  /** Whether the message was sent: then nobody knows whether the server has done what it asks. */
  readonly sent: boolean;
}

/** The reply is an error. */
export class MessageError<R extends Route = Route> extends Error {
  readonly code: R["error"];
  readonly detail: string;
  /** What is wrong with which field, if a `ValidationError` said so. */
  readonly fields?: { [field: string]: string[] };
}
