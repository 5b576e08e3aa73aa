// A stream's alerts from raise to clear: what was said when, and the frames that stood out.

import { inForce, showDeeds } from "./act.js";
import { makeAge } from "./ages.js";
import { get } from "./api.js";
import { bar } from "./charts.js";
import { keyed, make, say } from "./dom.js";
import { trouble } from "./notices.js";
import { session } from "./session.js";
import { count, duration, moment, percent } from "./words.js";

const end = (alert) => (alert.cleared_at ? `cleared after ${duration(alert.cleared_at - alert.raised_at)}` : alert.current ? "still raised" : "never cleared");

function shares(title, of) {
  const rows = Object.entries(of).sort((a, b) => b[1] - a[1]);
  if (rows.length === 0) return null;
  const lines = rows.map(([label, share]) => {
    const gauge = bar();
    gauge.show(share, false);
    return make("li", {}, make("span", { class: "label", text: label }), make("span", { class: "gauge short" }, make("span", { class: "value", text: percent(share) }), gauge.element));
  });
  return make("div", { class: "shares" }, make("h4", { text: title }), make("ul", {}, ...lines));
}

function thumbnails(alert) {
  if (!alert.thumbnails) return null;
  const picture = (number) =>
    make("img", {
      src: `/api/history/alerts/${alert.alert_id}/thumbnails/${number}.jpg`,
      alt: `Frame ${number + 1} of ${alert.thumbnails}, the most outlying first`,
      loading: "lazy",
    });
  return make("div", { class: "thumbnails" }, make("h4", { text: "The most outlying frames" }), make("p", {}, ...Array.from({ length: alert.thumbnails }, (_, number) => picture(number))));
}

function revisions(alert) {
  const header = (text) => make("th", { role: "columnheader", scope: "col", text });
  const row = (revision) =>
    make("tr", { role: "row" }, make("td", { role: "cell", "data-label": "When", class: "value", text: moment(revision.at) }), make("td", { role: "cell", "data-label": "What", text: revision.status }), make("td", { role: "cell", "data-label": "Outliers", class: "value", text: percent(revision.outlier_ratio) }), make("td", { role: "cell", class: "wide said", text: revision.summary }));
  return make("table", { role: "table", class: "revisions", "aria-label": "What was said when" }, make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...["When", "What", "Outliers", "In words"].map(header))), make("tbody", { role: "rowgroup" }, ...alert.revisions.map(row)));
}

function makeCard(alert) {
  const parts = {
    summary: make("span", { class: "summary" }),
    origin: make("span", { class: "origin" }),
    when: makeAge(),
    acts: make("div", { class: "acts" }),
    inside: make("div", { class: "inside" }),
  };
  parts.details = make("details", { class: "course" }, make("summary", { text: "From raise to clear" }), parts.inside);
  const element = make("li", {}, parts.summary, parts.origin, make("span", { class: "when" }, parts.when.element), parts.acts, parts.details);
  const card = { element, parts, alert, loaded: null, shown: "" };
  parts.details.addEventListener("toggle", () => load(card));
  return card;
}

async function load(card) {
  const { alert, parts } = card;
  const version = `${alert.revision} ${alert.status}`;
  if (!parts.details.open || card.loaded === version) return;
  card.loaded = version;
  try {
    const known = await get(`/api/history/alerts/${alert.alert_id}`);
    const found = [thumbnails(known), make("div", { class: "columns" }, shares("Layers that notice", known.layers), shares("What the outliers are taken for", known.classes)), revisions(known)];
    parts.inside.replaceChildren(...found.filter(Boolean));
  } catch (error) {
    card.loaded = null;
    trouble(error.message);
  }
}

// `onDone()`: what is in force has changed; `onOlder()`: older ones are wanted.
export function makeAlertList({ onDone, onOlder }) {
  const list = make("ul", { class: "alerts", "aria-labelledby": "device-alerts-title" });
  const none = make("p", { class: "card calm", text: "None so far. This stream sees what its model was trained for.", hidden: true });
  const some = make("span", { class: "aside" });
  const older = make("button", { type: "button", class: "plain", text: "Show older ones", onclick: onOlder });
  const more = make("p", { class: "more", hidden: true }, some, older);
  const reason = make("p", { class: "aside", hidden: true });

  let latest = null; // what is shown

  function update(card, alert) {
    const { parts } = card;
    const { alerts, history } = latest;
    card.alert = alert;
    card.element.className = alert.current ? "alert current" : "alert";
    say(parts.summary, alert.summary);
    const guarantee = alert.frames_per_false_alarm ? `, at most one false alarm in ${count(Math.round(alert.frames_per_false_alarm))} frames` : "";
    say(parts.origin, `raised ${moment(alert.raised_at)}, ${end(alert)}${guarantee}`);
    parts.when.show(alert.raised_at);
    parts.details.hidden = !history;
    if (history) {
      const { acknowledged, muted } = inForce(alert);
      // A mute is the stream's: it is told where it silences something, and else once.
      const decided = { acknowledged, muted: alert.current || alert === alerts[0] ? muted : null };
      const shown = JSON.stringify([decided, alert.current, session.role]);
      if (card.shown !== shown) {
        card.shown = shown;
        showDeeds(parts.acts, alert, decided, onDone);
      }
    }
    load(card);
  }

  // `history`: whether these are of the history, which then has `total` of them; `most` can be shown.
  const show = (alerts, { history, total = alerts.length, most = alerts.length }) => {
    latest = { alerts, history };
    none.hidden = alerts.length > 0;
    reason.hidden = session.mayAct || !history || !alerts.some((alert) => alert.current);
    say(reason, session.reason);
    more.hidden = total <= alerts.length;
    older.hidden = alerts.length >= most;
    say(some, `The latest ${count(alerts.length)} of ${count(total)}.`);
    keyed(list, alerts, (alert) => alert.alert_id, makeCard, update);
  };
  const refresh = () => latest && keyed(list, latest.alerts, (alert) => alert.alert_id, makeCard, update);
  return { element: make("div", {}, reason, none, list, more), show, refresh };
}
