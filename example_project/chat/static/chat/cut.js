// Lose the connection on purpose, for the button on the page of a room. Only a demonstration needs it.

let latest;

globalThis.WebSocket = class extends WebSocket {
  constructor(...how) {
    super(...how);
    latest = this;
  }
};

// What a page sees of a lost network: its socket ends without a goodbye, what was under way never
// arrives, and for some seconds no attempt is of any use.
export function cut(seconds) {
  latest.dispatchEvent(new CloseEvent("close", { code: 1006, reason: `after=${seconds}` }));
}
