// A device's view: how it is, its stream over time, and its alerts.

import { makeAge } from "./ages.js";
import { makeAlertList } from "./alertlist.js";
import { get, getIfThere, Refused } from "./api.js";
import { bar } from "./charts.js";
import { byId, keyed, make, say } from "./dom.js";
import { makeHealth } from "./health.js";
import { paced, serverNow, setServerNow } from "./live.js";
import { trouble } from "./notices.js";
import { deviceAddress, route, setQuery } from "./router.js";
import { showChips } from "./rows.js";
import { session } from "./session.js";
import { timeChart } from "./timechart.js";
import { count, perSecond, percent } from "./words.js";

const RANGES = { "1h": ["1 hour", 3600], "24h": ["24 hours", 86_400], "7d": ["7 days", 604_800], "30d": ["30 days", 2_592_000] };
const POINTS = 300;
const PACE_MS = 2_000;
const SERIES_PACE_MS = 5_000;
const SOME_ALERTS = 50; // at first, and more each time
const MOST_ALERTS = 1000;

// The view that is open: {site, device, parts}; `detail` is what is known of the device now, null where it is not known;
// `recorded` are the streams that the history has, null where it has not told; `stream` is the one that is shown, `runs`
// whether the device runs it, `onRecord` whether the history has it; `wanted` is how many alerts are, and `devices` how
// many devices there were when this one was last asked for.
let shown = null;

const isId = (name) => /^[A-Za-z0-9_.-]{1,64}$/.test(name);

const hasPast = ({ stream, runs, onRecord }) => session.history && stream !== null && (runs || onRecord);

// What is run no longer is of the past.
const usualRange = () => (shown.runs ? "1h" : "30d");

const rangeName = () => {
  const wanted = route().query.get("range");
  return wanted in RANGES ? wanted : usualRange();
};

// --- the frame of the view ---------------------------------------------------------------------------

function build({ site, device }) {
  const parts = {
    state: make("span", { class: "chips" }),
    seen: makeAge(),
    tabs: make("nav", { class: "tabs", "aria-label": "Streams of this device", hidden: true }),
    facts: make("dl", { class: "facts card" }),
    chart: timeChart(),
    ranges: make("div", { class: "ranges", role: "group", "aria-label": "Time range" }),
    alerts: makeAlertList({ onDone: () => loadAlerts(), onOlder: showOlder }),
    health: makeHealth(),
    note: make("p", { class: "card calm", hidden: true }),
    classes: make("div"),
    body: make("div", { hidden: true }),
  };
  for (const [name, [text]] of Object.entries(RANGES)) {
    parts.ranges.append(make("button", { type: "button", "data-range": name, text, onclick: () => chooseRange(name) }));
  }
  parts.charts = make("section", { "aria-labelledby": "charts-title" }, make("div", { class: "bar-of-tools" }, make("h2", { id: "charts-title", text: "Over time" }), parts.ranges), make("div", { class: "card padded" }, parts.chart.element));
  parts.lastSeen = make("span", { class: "aside", hidden: true }, "last seen ", parts.seen.element);
  parts.alertSection = make("section", { "aria-labelledby": "device-alerts-title" }, make("h2", { id: "device-alerts-title", text: "Alerts" }), parts.alerts.element);
  parts.itself = make("section", { "aria-labelledby": "health-title" }, make("h2", { id: "health-title", text: "The device itself" }), parts.health.element);
  parts.body.append(
    parts.tabs,
    parts.note,
    parts.facts,
    parts.charts,
    parts.classes,
    parts.alertSection,
    parts.itself,
  );
  byId("view-device").replaceChildren(
    make("p", { class: "crumbs" }, make("a", { href: "#/", text: "Fleet" })),
    make("div", { class: "heading" }, make("h1", { id: "device-title" }, make("span", { class: "device-name", text: device }), make("span", { class: "origin", text: site })), parts.state, parts.lastSeen),
    parts.body,
  );
  return parts;
}

function chooseRange(name) {
  setQuery({ range: name === usualRange() ? null : name });
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

// What to say of a stream that the device does not run, or of a device that is not known; empty where all is there.
function noteOn({ site, device, detail, recorded, stream, runs, onRecord }) {
  const kept = onRecord ? " This is what the history has of it." : "";
  if (detail === null && recorded?.length) return `The server knows ${device} no longer.${kept}`;
  if (detail === null) return `There is no device ${device} at site ${site}. It appears once it has reported to the broker.`;
  if (runs || stream === null) return "";
  return onRecord ? `${stream} is no longer run by ${device}.${kept}` : `${device} runs no stream ${stream}.`;
}

function showTabs(names, running) {
  const tab = (name) => ({ element: make("a", { text: running.includes(name) ? name : `${name} (no longer run)`, href: deviceAddress(shown.site, shown.device, name) }) });
  keyed(shown.parts.tabs, names, (name) => `${name} ${running.includes(name)}`, tab, ({ element }, name) => {
    if (name === shown.stream) element.setAttribute("aria-current", "page");
    else element.removeAttribute("aria-current");
  });
  shown.parts.tabs.hidden = names.length === 0 || (names.length === 1 && names[0] === shown.stream);
}

// Shows the stream that the address names, or else the first.
function showDetail() {
  const { parts, detail, recorded } = shown;
  const running = detail?.device.streams.map((stream) => stream.stream) ?? [];
  const names = [...running, ...(recorded ?? []).filter((name) => !running.includes(name))];
  const name = route().parts[2] || (names[0] ?? null);
  const another = shown.stream !== name;
  Object.assign(shown, { stream: name, runs: running.includes(name), onRecord: Boolean(recorded?.includes(name)) });
  const stream = detail?.device.streams.find((one) => one.stream === name);
  parts.body.hidden = false;
  showTabs(names, running);
  const note = noteOn(shown);
  say(parts.note, note);
  parts.note.hidden = !note;
  parts.lastSeen.hidden = parts.state.hidden = parts.itself.hidden = detail === null;
  parts.facts.hidden = Boolean(note);
  parts.charts.hidden = !hasPast(shown);
  parts.alertSection.hidden = !shown.runs && !shown.onRecord;
  parts.classes.hidden = session.history || detail === null;
  showRanges();
  if (detail !== null) {
    showChips(parts.state, detail.device.state, stream);
    parts.seen.show(detail.device.last_seen);
    showFacts(stream);
    parts.health.show(detail);
    if (!session.history) {
      showClasses(detail.classes[name] ?? {});
      parts.alerts.show(detail.alerts.filter((alert) => alert.stream === name).map((alert) => ({ ...alert, cleared_at: alert.status === "cleared" ? alert.updated_at : null })), { history: false });
    }
  }
  if (another) {
    Object.assign(shown, { data: null, alerts: [], wanted: SOME_ALERTS });
    parts.chart.show(null);
    loadSeries();
    loadAlerts();
  }
}

function showFacts(stream) {
  const facts = stream
    ? [
        ["Stream", stream.stream],
        ["Outliers now", percent(stream.outlier_ratio)],
        ["Evidence now", percent(stream.evidence)],
        ["Frames/s", perSecond(stream.frames_per_second)],
        ["Frames in all", count(stream.frames_total)],
        ["Bundle", stream.bundle ?? "–"],
        ...Object.entries(stream.faults_total).map(([reason, total]) => [`Faulty: ${reason}`, count(total)]),
      ]
    : [["Streams", "none yet"]];
  const { facts: place } = shown.parts;
  if (place.dataset.shown === JSON.stringify(facts)) return;
  place.dataset.shown = JSON.stringify(facts);
  place.replaceChildren(...facts.map((pair) => fact(...pair)));
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
    trouble(error.message);
  }
};

// What is known now; and, once, which streams the history has.
async function detail({ site, device, recorded }) {
  const asks = recorded === null && session.history && isId(site) && isId(device);
  const onRecord = asks ? get("/api/history/streams", { site, device }).then((found) => found.streams, () => null) : recorded;
  const known = await getIfThere(`/api/fleet/devices/${encodeURIComponent(site)}/${encodeURIComponent(device)}`);
  return { detail: known, recorded: await onRecord };
}

const loadDetail = forView(detail, (found) => {
  if (found.detail !== null) setServerNow(found.detail.now);
  Object.assign(shown, found);
  showDetail();
});

async function series(view) {
  if (!hasPast(view)) return null;
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
  (view) => (hasPast(view) ? get("/api/history/alerts", { site: view.site, device: view.device, stream: view.stream, limit: view.wanted }) : null),
  ({ alerts, total }) => {
    shown.alerts = alerts;
    shown.parts.alerts.show(alerts, { history: true, total, most: Math.min(total, MOST_ALERTS) });
    if (shown.data) shown.parts.chart.show({ ...shown.data, alerts });
  },
);

function showOlder() {
  shown.wanted = Math.min(shown.wanted + SOME_ALERTS, MOST_ALERTS);
  loadAlerts();
}

const detailPaced = paced(loadDetail, PACE_MS);
const alertsPaced = paced(loadAlerts, PACE_MS);
const seriesPaced = paced(loadSeries, SERIES_PACE_MS);

export const deviceView = {
  id: "view-device",
  title: "Device",
  show({ parts: [site = "", device = ""] }) {
    if (shown?.site !== site || shown?.device !== device) {
      shown = { site, device, detail: null, recorded: null, stream: null, runs: true, onRecord: false, alerts: [], data: null, wanted: SOME_ALERTS, devices: null };
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
  update({ figures }) {
    // A device that is not known is asked for again only when there are others.
    if (shown.detail !== null || shown.devices !== figures.devices) detailPaced();
    shown.devices = figures.devices;
    alertsPaced();
    seriesPaced();
  },
  tick() {
    shown.parts.alerts.refresh();
  },
};
