// The connection to the server: a summary whenever the fleet has changed, and whether anybody answers.

import { byId, say } from "./dom.js";
import { startSession } from "./session.js";

const SILENT_MS = 25_000; // more than two heartbeats
const RETRY_MS = 3_000;
const LOOK_MS = 60_000;

let clockOffset = 0; // the server's clock less ours, in seconds
let known = null; // the latest summary

export const serverNow = () => Date.now() / 1000 + clockOffset;
export const setServerNow = (now) => (clockOffset = now - Date.now() / 1000);

function showLink(state, text, notice = "") {
  byId("link").dataset.state = state;
  say(byId("link-text"), text);
  byId("notice").hidden = !notice;
  say(byId("notice"), notice);
}

function showLost() {
  document.body.classList.toggle("detached", known !== null);
  showLink("broken", "reconnecting", "The server does not answer. This is the last known state; trying again.");
}

function showHeard() {
  document.body.classList.remove("detached");
  const problems = known?.server.problems ?? [];
  if (problems.length === 0) showLink("live", "live");
  else showLink("broken", "in trouble", `The server cannot do all its work, so what is shown may be old: ${problems.join("; ")}.`);
}

// `onSummary(summary)`: the fleet has changed, or the server is back.
//
// A browser has six connections to a host for all its tabs together, so a tab that is hidden gives its own back, and
// only looks in now and then.
export function connect(onSummary) {
  let source = null;
  let timer; // ends the silence, or the pause
  let fresh = false; // whether the server may be another one by now

  function pause(milliseconds) {
    source?.close();
    clearTimeout(timer);
    timer = setTimeout(open, milliseconds);
  }

  function lose() {
    fresh = true;
    pause(RETRY_MS);
    showLost();
    startSession().catch(() => {}); // whoever was logged out is sent to log in
  }

  function heard(now) {
    clearTimeout(timer);
    timer = setTimeout(lose, SILENT_MS);
    setServerNow(now);
    showHeard();
  }

  function open() {
    clearTimeout(timer);
    source?.close();
    timer = setTimeout(lose, SILENT_MS);
    source = new EventSource("/api/fleet/events");
    source.addEventListener("fleet", (event) => {
      const summary = JSON.parse(event.data);
      known = summary;
      heard(summary.now);
      if (fresh) startSession().catch(() => {});
      fresh = false;
      onSummary(summary);
      if (document.hidden) pause(LOOK_MS);
    });
    source.addEventListener("heartbeat", (event) => heard(JSON.parse(event.data).now));
    source.addEventListener("error", lose);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      pause(LOOK_MS);
    } else {
      fresh = true;
      showLink("waiting", "connecting");
      open();
    }
  });
  open();
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
