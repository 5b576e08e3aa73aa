// Acknowledging an alert, and muting its stream: one dialog asks, the server decides and writes down who and when.

import { age } from "./ages.js";
import { put, remove } from "./api.js";
import { byId, make, say } from "./dom.js";
import { serverNow } from "./live.js";
import { trouble } from "./notices.js";
import { session } from "./session.js";
import { moment } from "./words.js";

const path = (alertId, what) => `/api/alerts/${encodeURIComponent(alertId)}/${what}`;

let wanted = null; // what the open dialog is about

function ask(alert, what, onDone) {
  wanted = { alert, what, onDone };
  const muting = what === "mute";
  say(byId("act-title"), muting ? "Mute this stream" : "Acknowledge this alert");
  say(byId("act-about"), `${alert.device} / ${alert.stream}, ${alert.site}`);
  say(byId("act-means"), muting ? "Nobody is told of any of its alerts meanwhile, new ones included. They are recorded, and shown here." : "");
  say(byId("act-do"), muting ? "Mute" : "Acknowledge");
  byId("act-times").hidden = !muting;
  byId("act-note").value = "";
  byId("act-problem").hidden = true;
  byId("act").showModal();
  byId(muting ? "act-times" : "act-note").querySelector?.("input:checked")?.focus();
}

async function send(event) {
  event.preventDefault();
  const { alert, what, onDone } = wanted;
  const note = byId("act-note").value.trim();
  const body = what === "mute" ? { seconds: Number(byId("act-form").elements.seconds.value), note } : { note };
  try {
    await put(path(alert.alert_id, what), body);
    byId("act").close();
    onDone();
  } catch (error) {
    say(byId("act-problem"), error.message);
    byId("act-problem").hidden = false;
  }
}

export function startActing() {
  byId("act-form").addEventListener("submit", send);
  byId("act-cancel").addEventListener("click", () => byId("act").close());
}

// A button that a viewer can reach and read, but not use.
export function operatorButton(text, onclick, attributes = {}) {
  const allowed = session.mayAct;
  return make("button", {
    type: "button",
    text,
    "aria-disabled": allowed ? null : "true",
    title: allowed ? null : session.reason,
    onclick: allowed ? onclick : () => say(byId("announcer"), session.reason),
    ...attributes,
  });
}

function told(kind, { who, at, until, note }, undo) {
  const end = until ? ` until ${moment(until)}` : "";
  return make("p", { class: "deed" }, make("span", {}, `${kind} by ${who} `, age(at), `${end}${note ? `: ${note}` : ""}`), undo);
}

// What operators have decided, less what is over.
export const inForce = ({ acknowledged, muted }) => ({ acknowledged, muted: muted && muted.until > serverNow() ? muted : null });

// Who has acknowledged an alert and muted its stream, and the buttons to do so, put into `place`. `decided` is what is
// in force, `onDone()`: it has changed.
export function showDeeds(place, alert, { acknowledged, muted }, onDone) {
  const parts = make("div", { class: "deeds" });
  const undo = (what) => () => remove(path(alert.alert_id, what)).then(onDone, (error) => trouble(error.message));
  const stream = `${alert.device} / ${alert.stream}`;
  const of = `the alert of ${stream}`;
  if (acknowledged) {
    const attributes = { class: "plain", "aria-label": `Take back the acknowledgement of ${of}` };
    parts.append(told("Acknowledged", acknowledged, operatorButton("Take back", undo("acknowledgement"), attributes)));
  }
  if (muted) parts.append(told("Stream muted", muted, operatorButton("Unmute", undo("mute"), { class: "plain", "aria-label": `Unmute the stream ${stream}` })));
  if (alert.current) {
    const buttons = make("p", { class: "buttons" });
    if (!acknowledged) buttons.append(operatorButton("Acknowledge", () => ask(alert, "acknowledgement", onDone), { "aria-label": `Acknowledge ${of}` }));
    if (!muted) buttons.append(operatorButton("Mute stream", () => ask(alert, "mute", onDone), { "aria-label": `Mute stream ${stream}` }));
    if (buttons.childElementCount) parts.append(buttons);
  }
  const focused = place.contains(document.activeElement);
  place.replaceChildren(...(parts.childElementCount ? [parts] : []));
  if (focused) place.querySelector("button")?.focus(); // what had the focus is gone
}
