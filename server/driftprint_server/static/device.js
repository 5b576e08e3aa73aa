// A device's view: how it is, its stream over time, and its alerts.

import { get, Refused } from "./api.js";
import { byId, make, say } from "./dom.js";
import { makeAlertList } from "./alertlist.js";
import { bar } from "./charts.js";
import { makeHealth } from "./health.js";
import { paced, serverNow, setServerNow } from "./live.js";
import { trouble } from "./notices.js";
import { deviceAddress, route, setQuery } from "./router.js";
import { showChips } from "./rows.js";
import { session } from "./session.js";
import { timeChart } from "./timechart.js";
import { ago, count, perSecond, percent } from "./words.js";

const RANGES = { "1h": ["1 hour", 3600], "24h": ["24 hours", 86_400], "7d": ["7 days", 604_800] };
const POINTS = 300;
const PACE_MS = 2_000;
const SERIES_PACE_MS = 5_000;
const MOST_ALERTS = 50;

let shown = null; // {site, device, stream, parts, detail, alerts} of the view that is open

const rangeName = () => {
  const wanted = route().query.get("range");
  return wanted in RANGES ? wanted : "1h";
};

// --- the frame of the view ---------------------------------------------------------------------------

function build({ site, device }) {
  const parts = {
    state: make("span", { class: "chips" }),
    seen: make("span", { class: "aside" }),
    tabs: make("nav", { class: "tabs", "aria-label": "Streams of this device", hidden: true }),
    facts: make("dl", { class: "facts card" }),
    chart: timeChart(),
    ranges: make("div", { class: "ranges", role: "group", "aria-label": "Time range" }),
    alerts: makeAlertList(() => loadAlerts()),
    health: makeHealth(),
    none: make("p", { class: "card calm", hidden: true }),
    classes: make("div"),
    body: make("div", { hidden: true }),
  };
  for (const [name, [text]] of Object.entries(RANGES)) {
    parts.ranges.append(make("button", { type: "button", "data-range": name, text, onclick: () => chooseRange(name) }));
  }
  parts.charts = make("section", { "aria-labelledby": "charts-title" }, make("div", { class: "bar-of-tools" }, make("h2", { id: "charts-title", text: "Over time" }), parts.ranges), make("div", { class: "card padded" }, parts.chart.element));
  parts.body.append(
    parts.tabs,
    parts.facts,
    parts.charts,
    parts.classes,
    make("section", { "aria-labelledby": "device-alerts-title" }, make("h2", { id: "device-alerts-title", text: "Alerts" }), parts.alerts.element),
    make("section", { "aria-labelledby": "health-title" }, make("h2", { id: "health-title", text: "The device itself" }), parts.health.element),
  );
  byId("view-device").replaceChildren(
    make("p", { class: "crumbs" }, make("a", { href: "#/", text: "Fleet" })),
    make("div", { class: "heading" }, make("h1", { id: "device-title" }, make("span", { class: "device-name", text: device }), make("span", { class: "origin", text: site })), parts.state, parts.seen),
    parts.none,
    parts.body,
  );
  return parts;
}

function chooseRange(name) {
  setQuery({ range: name === "1h" ? null : name });
  showRanges();
  loadSeries();
}

function showRanges() {
  for (const button of shown.parts.ranges.children) button.setAttribute("aria-pressed", String(button.dataset.range === rangeName()));
}

// --- what is known now -------------------------------------------------------------------------------

function fact(name, value) {
  return make("div", {}, make("dt", { text: name }), make("dd", { text: value }));
}

function showDetail(detail) {
  const { parts } = shown;
  const { device } = detail;
  const names = device.streams.map((stream) => stream.stream);
  const wanted = route().parts[2];
  const name = names.includes(wanted) ? wanted : (names[0] ?? null);
  const another = shown.stream !== name;
  Object.assign(shown, { detail, stream: name });
  const stream = device.streams.find((one) => one.stream === name);
  parts.none.hidden = true;
  parts.body.hidden = false;
  showChips(parts.state, device.state, stream);
  parts.tabs.hidden = names.length < 2;
  const links = JSON.stringify([names, name]);
  if (parts.tabs.dataset.shown !== links) {
    parts.tabs.dataset.shown = links;
    parts.tabs.replaceChildren(...names.map((one) => make("a", { href: deviceAddress(device.site, device.device, one), text: one, "aria-current": one === name ? "page" : null })));
  }
  const facts = stream
    ? [
        ["Stream", name],
        ["Outliers now", percent(stream.outlier_ratio)],
        ["Evidence now", percent(stream.evidence)],
        ["Frames/s", perSecond(stream.frames_per_second)],
        ["Frames in all", count(stream.frames_total)],
        ["Bundle", stream.bundle ?? "–"],
        ...Object.entries(stream.faults_total).map(([reason, total]) => [`Faulty: ${reason}`, count(total)]),
      ]
    : [["Streams", "none yet"]];
  if (parts.facts.dataset.shown !== JSON.stringify(facts)) {
    parts.facts.dataset.shown = JSON.stringify(facts);
    parts.facts.replaceChildren(...facts.map((pair) => fact(...pair)));
  }
  parts.health.show(detail);
  parts.charts.hidden = !session.history || name === null;
  parts.classes.hidden = session.history;
  if (!session.history) {
    showClasses(detail.classes[name] ?? {});
    parts.alerts.show(detail.alerts.filter((alert) => alert.stream === name).map((alert) => ({ ...alert, cleared_at: alert.status === "cleared" ? alert.updated_at : null })), { history: false });
  }
  showSeen();
  if (another) {
    shown.data = null;
    parts.chart.show(null);
    loadSeries();
    loadAlerts();
  }
}

// Without a history: the classes as they are now.
function showClasses(classes) {
  const rows = Object.entries(classes).sort((a, b) => b[1].outlier_ratio - a[1].outlier_ratio).slice(0, 12);
  if (rows.length === 0) {
    shown.parts.classes.replaceChildren();
    return;
  }
  const lines = rows.map(([label, { frames, outlier_ratio: ratio }]) => {
    const gauge = bar();
    gauge.show(ratio, false);
    return make("li", {}, make("span", { class: "name", text: label }), make("span", { class: "gauge" }, make("span", { class: "value", text: percent(ratio) }), gauge.element, make("span", { class: "aside", text: `of ${count(frames)} frames` })));
  });
  shown.parts.classes.replaceChildren(make("h2", { text: "Outliers by predicted class, now" }), make("ul", { class: "card lines" }, ...lines));
}

function showSeen() {
  if (shown?.detail) say(shown.parts.seen, `last seen ${ago(shown.detail.device.last_seen, serverNow())}`);
}

// --- loading -----------------------------------------------------------------------------------------

// Runs `work` for the view that is open, and drops its answer where another has been opened meanwhile.
const forView = (work, use) => async () => {
  const view = shown;
  if (view === null) return;
  const { stream } = view;
  try {
    const answer = await work(view);
    if (answer !== null && shown === view && view.stream === stream) use(answer);
  } catch (error) {
    if (!(error instanceof Refused) || shown !== view) return; // away: the connection says so
    if (error.status === 404 && view.detail === null) {
      say(view.parts.none, `${error.message}.`);
      view.parts.none.hidden = false;
    } else {
      trouble(error.message);
    }
  }
};

const loadDetail = forView(
  ({ site, device }) => get(`/api/fleet/devices/${encodeURIComponent(site)}/${encodeURIComponent(device)}`),
  (detail) => {
    setServerNow(detail.now);
    showDetail(detail);
  },
);

async function series(view) {
  if (!session.history || view.stream === null) return null;
  const range = rangeName();
  const end = serverNow();
  const start = end - RANGES[range][1];
  const { site, device, stream } = view;
  const found = await get("/api/history/series", { site, device, stream, start, end, points: POINTS });
  return { range, start, end, points: found.points };
}

const loadSeries = forView(series, (data) => {
  if (data.range !== rangeName()) return; // another has been chosen meanwhile
  shown.data = data;
  shown.parts.chart.show({ ...data, alerts: shown.alerts });
});

const loadAlerts = forView(
  ({ site, device, stream }) => (session.history && stream !== null ? get("/api/history/alerts", { site, device, stream, limit: MOST_ALERTS }) : null),
  (found) => {
    const current = new Map(shown.detail.alerts.map((alert) => [alert.alert_id, alert.current]));
    shown.alerts = found.alerts;
    shown.parts.alerts.show(
      found.alerts.map((alert) => ({ ...alert, current: current.get(alert.alert_id) ?? false })),
      { history: true, total: found.total },
    );
    if (shown.data) shown.parts.chart.show({ ...shown.data, alerts: shown.alerts });
  },
);

const detailPaced = paced(loadDetail, PACE_MS);
const alertsPaced = paced(loadAlerts, PACE_MS);
const seriesPaced = paced(loadSeries, SERIES_PACE_MS);

export const deviceView = {
  id: "view-device",
  title: "Device",
  show({ parts: [site = "", device = ""] }) {
    if (shown?.site !== site || shown?.device !== device) {
      shown = { site, device, stream: null, detail: null, alerts: [], data: null };
      shown.parts = build(shown);
      this.title = device;
    }
    showRanges();
    loadDetail();
    loadSeries();
  },
  hide() {
    if (route().view !== "device") shown = null;
  },
  update() {
    detailPaced();
    alertsPaced();
    seriesPaced();
  },
  tick: showSeen,
};
