// Alerts as cards: on the fleet's view from the summary, with who has acknowledged or muted them from the history.

import { inForce, showDeeds } from "./act.js";
import { makeAge } from "./ages.js";
import { get, getIfThere } from "./api.js";
import { byId, keyed, make, say } from "./dom.js";
import { paced } from "./live.js";
import { deviceAddress } from "./router.js";
import { session } from "./session.js";
import { count, plural } from "./words.js";

const FIRST = 5; // cards before one asks for more
const PACE_MS = 2_000;

const decided = new Map(); // alert id -> {acknowledged, muted}
const announced = new Set();
let summary = null;
let shownAll = false;
let begun = false;

function makeCard(alert) {
  const element = make("li", { class: alert.current ? "alert current" : "alert" });
  const link = make("a", { href: deviceAddress(alert.site, alert.device, alert.stream), text: `${alert.device} / ${alert.stream}` });
  const [raised, cleared] = [makeAge(), makeAge()];
  const over = make("span", { hidden: true }, ", cleared ", cleared.element);
  const when = make("span", { class: "when" }, "raised ", raised.element, over);
  const acts = make("div", { class: "acts" });
  element.append(make("span", { class: "summary", text: alert.summary }), make("span", { class: "origin" }, link, `, ${alert.site}`), when, acts);
  return { element, raised, cleared, over, acts, shown: "" };
}

function updateCard(card, alert) {
  card.raised.show(alert.raised_at);
  card.cleared.show(alert.updated_at);
  card.over.hidden = alert.status !== "cleared";
  say(card.element.querySelector(".summary"), alert.summary);
  if (!decided.has(alert.alert_id)) return;
  const known = inForce(decided.get(alert.alert_id));
  const shown = JSON.stringify([known, session.role]);
  if (card.shown === shown) return;
  card.shown = shown;
  showDeeds(card.acts, alert, known, learn);
  card.element.classList.toggle("seen", Boolean(known.acknowledged || known.muted));
}

function show() {
  if (summary === null) return;
  const { current_alerts: current, recent_alerts: recent, figures } = summary;
  const key = (alert) => `${alert.alert_id} ${alert.current}`;
  const first = shownAll ? current : current.slice(0, FIRST);
  byId("current").hidden = current.length === 0;
  say(byId("current-title"), `${plural(figures.current_alerts, "alert")} raised now, of any cause`);
  keyed(byId("current-list"), first, key, makeCard, updateCard);
  const left = figures.current_alerts - first.length;
  byId("current-more").hidden = left === 0;
  say(byId("current-more"), first.length < current.length ? `Show ${count(current.length - first.length)} more` : `${count(left)} older ones: filter the streams by "In alarm"`);
  byId("current-reason").hidden = session.mayAct || !session.history;
  say(byId("current-reason"), session.reason);
  byId("recent").hidden = figures.devices === 0 || (current.length > 0 && recent.length === 0);
  byId("no-alerts").hidden = current.length + recent.length > 0;
  keyed(byId("recent-list"), recent, key, makeCard, updateCard);
}

// What operators have decided on the alerts that are shown; the history knows.
const learn = paced(async () => {
  if (!session.history || summary === null || byId("view-fleet").hidden) return;
  const wanted = shownAll ? summary.current_alerts : summary.current_alerts.slice(0, FIRST);
  const note = (answer) => answer && decided.set(answer.alert_id, { acknowledged: answer.acknowledged, muted: answer.muted });
  try {
    const ids = new Set(wanted.map((alert) => alert.alert_id));
    const listed = ids.size ? (await get("/api/history/alerts", { limit: 100 })).alerts : [];
    const older = [...ids].filter((id) => !listed.some((alert) => alert.alert_id === id));
    const single = await Promise.all(older.map((id) => getIfThere(`/api/history/alerts/${id}`)));
    decided.clear();
    [...listed.filter((alert) => ids.has(alert.alert_id)), ...single].forEach(note);
    show();
  } catch {
    // the next summary tries again
  }
}, PACE_MS);

function announce(alerts) {
  const fresh = alerts.filter((alert) => !announced.has(alert.alert_id));
  for (const alert of fresh) announced.add(alert.alert_id);
  const drifting = fresh.filter((alert) => alert.cause === "drift").map((alert) => `${alert.device} / ${alert.stream}`);
  if (!begun && drifting.length > 3) say(byId("announcer"), `${drifting.length} alarms are raised`);
  else if (drifting.length) say(byId("announcer"), `Alarm on ${drifting.join(", ")}`);
  begun = true;
}

export function showAlerts(latest) {
  summary = latest;
  announce(latest.current_alerts);
  show();
  learn();
}

export const refreshAlerts = show;

export function startAlerts() {
  byId("current-more").addEventListener("click", () => {
    if (shownAll) {
      byId("state").value = "alarm";
      byId("state").dispatchEvent(new Event("change"));
    } else {
      shownAll = true;
      show();
      learn();
    }
  });
}
