// The connection to the server: a summary whenever the fleet has changed, and whether anybody answers.

import { byId, say } from "./dom.js";
import { startSession } from "./session.js";

const SILENT_MS = 25_000; // more than two heartbeats
const RETRY_MS = 3_000;

let clockOffset = 0; // the server's clock less ours, in seconds
let known = false;

export const serverNow = () => Date.now() / 1000 + clockOffset;
export const setServerNow = (now) => (clockOffset = now - Date.now() / 1000);

function showLink(state, text) {
  byId("link").dataset.state = state;
  say(byId("link-text"), text);
  const broken = state === "broken";
  document.body.classList.toggle("detached", broken && known);
  byId("notice").hidden = !broken;
  say(byId("notice"), broken ? "The server does not answer. This is the last known state; trying again." : "");
}

// `onSummary(summary)`: the fleet has changed, or the server is back.
export function connect(onSummary, again = false) {
  let fresh = again;
  const source = new EventSource("/api/fleet/events");
  let watchdog;
  const reopen = () => {
    clearTimeout(watchdog);
    source.close();
    showLink("broken", "reconnecting");
    startSession().catch(() => {}); // whoever was logged out is sent to log in
    setTimeout(() => connect(onSummary, true), RETRY_MS);
  };
  const heard = (now) => {
    clearTimeout(watchdog);
    watchdog = setTimeout(reopen, SILENT_MS);
    setServerNow(now);
    showLink("live", "live");
  };
  source.addEventListener("fleet", (event) => {
    const summary = JSON.parse(event.data);
    known = true;
    heard(summary.now);
    if (fresh) startSession().catch(() => {});
    fresh = false;
    onSummary(summary);
  });
  source.addEventListener("heartbeat", (event) => heard(JSON.parse(event.data).now));
  source.addEventListener("error", reopen);
}

// Calls `work` at most once every `milliseconds`, and never twice at the same time; a call meanwhile is made up for.
export function paced(work, milliseconds) {
  let running = false;
  let again = false;
  return async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await work();
    } finally {
      setTimeout(() => {
        running = false;
        if (again) {
          again = false;
          run();
        }
      }, milliseconds);
    }
  };
}
