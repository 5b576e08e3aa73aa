// The page: takes the fleet from /api/fleet/events and shows it. Whatever a device says is put in as text.

import { sparkline, bar } from "./charts.js";
import { ago, perSecond, percent } from "./words.js";

const HISTORY = 60; // points of a sparkline
const SILENT_MS = 25_000; // more than two heartbeats
const RETRY_MS = 3_000;

const byId = (id) => document.getElementById(id);
const rows = new Map(); // key -> { element, parts, history, windowAt }
const alarmed = new Set();
let clockOffset = 0; // the server's clock less ours, in seconds
let fleet = null;

// --- small helpers -----------------------------------------------------------------------------------

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function count(items, condition) {
  return items.reduce((total, item) => total + (condition(item) ? 1 : 0), 0);
}

const serverNow = () => Date.now() / 1000 + clockOffset;

// --- the table ---------------------------------------------------------------------------------------

function listed(devices) {
  return devices.flatMap((device) => {
    const streams = device.streams.length ? device.streams : [null];
    return streams.map((stream) => ({ device, stream, key: JSON.stringify([device.site, device.device, stream?.stream]) }));
  });
}

function makeRow() {
  const element = make("tr");
  element.setAttribute("role", "row");
  const parts = {};
  const cell = (name, className, label) => {
    const td = make("td", className);
    td.setAttribute("role", "cell");
    if (label) td.dataset.label = label;
    element.append(td);
    return (parts[name] = td);
  };
  parts.name = make("div", "name");
  parts.origin = make("div", "origin");
  parts.faults = make("div", "aside");
  cell("stream").append(parts.name, parts.origin, parts.faults);
  cell("state", "state");
  cell("frames", "number value", "Frames/s");
  const outliers = make("div", "gauge");
  parts.ratio = make("span", "value");
  parts.ratioBar = bar();
  parts.spark = sparkline();
  outliers.append(parts.ratio, parts.ratioBar.element, parts.spark.element);
  cell("outliers", "wide", "Outliers").append(outliers);
  const evidence = make("div", "gauge short");
  parts.evidence = make("span", "value");
  parts.evidenceBar = bar();
  evidence.append(parts.evidence, parts.evidenceBar.element);
  cell("evidenceCell", "", "Evidence").append(evidence);
  parts.bundle = make("div", "bundle");
  cell("bundleCell", "", "Bundle").append(parts.bundle);
  cell("seen", "number value", "Last seen");
  return { element, parts, history: [], windowAt: null };
}

function showChips(cell, state, alarm, classMix, cameraFaults) {
  const wrong = [
    ...(alarm ? [["alarm", "alarm"]] : []),
    ...(classMix ? [["stale", "class mix"]] : []),
    ...cameraFaults.map((fault) => ["stale", `camera: ${fault.replace("_", " ")}`]),
  ];
  const wanted = wrong.length && state === "online" ? wrong : [...wrong, [state, state]];
  if (cell.dataset.shown === JSON.stringify(wanted)) return;
  cell.dataset.shown = JSON.stringify(wanted);
  cell.replaceChildren(...wanted.map(([className, text]) => make("span", `chip ${className}`, text)));
}

function showRow(row, device, stream) {
  const { element, parts } = row;
  const alarm = Boolean(stream?.alarm);
  element.className = [alarm ? "alarming" : "", device.state === "online" ? "" : "away"].join(" ").trim();
  say(parts.name, stream ? `${device.device} / ${stream.stream}` : device.device);
  say(parts.origin, device.site);
  const faults = Object.entries(stream?.faults_total ?? {}).filter(([, total]) => total > 0);
  say(parts.faults, faults.map(([reason, total]) => `${total.toLocaleString("en")} faulty: ${reason}`).join(", "));
  showChips(parts.state, device.state, alarm, stream?.class_mix_alarm ?? false, stream?.camera_faults ?? []);
  say(parts.frames, perSecond(stream?.frames_per_second));
  say(parts.ratio, percent(stream?.outlier_ratio));
  parts.ratioBar.show(stream?.outlier_ratio ?? 0, alarm);
  say(parts.evidence, percent(stream?.evidence));
  parts.evidenceBar.show(stream?.evidence ?? 0, (stream?.evidence ?? 0) >= 1);
  say(parts.bundle, stream?.bundle ?? "–");
  parts.bundle.title = stream?.bundle ?? "";
  if (stream && stream.outlier_ratio !== null && stream.window_at !== row.windowAt) {
    row.windowAt = stream.window_at;
    row.history = [...row.history, stream.outlier_ratio].slice(-HISTORY);
    parts.spark.show(row.history, HISTORY);
  }
  row.device = device;
}

function showTable(devices) {
  const present = listed(devices);
  const keys = new Set(present.map(({ key }) => key));
  for (const [key, row] of rows) {
    if (!keys.has(key)) {
      row.element.remove();
      rows.delete(key);
    }
  }
  const body = byId("rows");
  present.forEach(({ device, stream, key }, index) => {
    if (!rows.has(key)) rows.set(key, makeRow());
    const row = rows.get(key);
    showRow(row, device, stream);
    if (body.children[index] !== row.element) body.insertBefore(row.element, body.children[index] ?? null);
  });
}

// --- figures and alerts ------------------------------------------------------------------------------

function showFigures(devices) {
  const streams = devices.flatMap((device) => device.streams);
  const online = devices.filter((device) => device.state === "online");
  const reporting = online.flatMap((device) => device.streams).filter((stream) => stream.frames_per_second !== null);
  const alarms = count(streams, (stream) => stream.alarm);
  say(byId("devices-online"), String(online.length));
  say(byId("devices-all"), `of ${devices.length}`);
  say(byId("streams-online"), String(reporting.length));
  say(byId("streams-all"), `of ${streams.length}`);
  say(byId("frames"), perSecond(reporting.reduce((total, stream) => total + stream.frames_per_second, 0)));
  say(byId("alarms"), String(alarms));
  byId("alarm-tile").classList.toggle("alarming", alarms > 0);
  document.title = alarms ? `(${alarms}) driftprint` : "driftprint";
}

function makeAlert(alert) {
  const item = make("li", alert.current ? "alert current" : "alert");
  const when = make("span", "when");
  when.dataset.at = alert.raised_at;
  when.dataset.until = alert.status === "cleared" ? alert.updated_at : "";
  const origin = make("span", "origin", `${alert.device} / ${alert.stream}, ${alert.site}`);
  item.append(make("span", "summary", alert.summary), origin, when);
  return item;
}

function showAlerts(alerts) {
  const current = alerts.filter((alert) => alert.current);
  const recent = alerts.filter((alert) => !alert.current);
  byId("current").hidden = current.length === 0;
  byId("current-list").replaceChildren(...current.map(makeAlert));
  byId("recent").hidden = fleet.devices.length === 0 || (current.length > 0 && recent.length === 0);
  byId("no-alerts").hidden = alerts.length > 0;
  byId("recent-list").replaceChildren(...recent.map(makeAlert));
}

function announce(devices) {
  const now = new Map();
  for (const device of devices) {
    for (const stream of device.streams) {
      if (stream.alarm) now.set(JSON.stringify([device.site, device.device, stream.stream]), `${device.device} / ${stream.stream}`);
    }
  }
  const raised = [...now].filter(([key]) => !alarmed.has(key)).map(([, name]) => name);
  alarmed.clear();
  for (const key of now.keys()) alarmed.add(key);
  if (raised.length) say(byId("announcer"), `Alarm on ${raised.join(", ")}`);
}

function showTimes() {
  const now = serverNow();
  for (const row of rows.values()) say(row.parts.seen, ago(row.device.last_seen, now));
  for (const when of document.querySelectorAll(".when")) {
    const until = when.dataset.until ? `, cleared ${ago(Number(when.dataset.until), now)}` : "";
    say(when, `raised ${ago(Number(when.dataset.at), now)}${until}`);
  }
}

function show(view) {
  fleet = view;
  const some = view.devices.length > 0;
  byId("empty").hidden = some;
  byId("streams").hidden = !some;
  showFigures(view.devices);
  showTable(view.devices);
  showAlerts(view.alerts);
  announce(view.devices);
  showTimes();
}

// --- the connection ----------------------------------------------------------------------------------

function showLink(state, text) {
  byId("link").dataset.state = state;
  say(byId("link-text"), text);
  const broken = state === "broken";
  document.body.classList.toggle("detached", broken && fleet !== null);
  byId("notice").hidden = !broken;
  say(byId("notice"), broken ? "The server does not answer. This is the last known state; trying again." : "");
}

function connect() {
  const source = new EventSource("/api/fleet/events");
  let watchdog;
  const reopen = () => {
    clearTimeout(watchdog);
    source.close();
    showLink("broken", "reconnecting");
    setTimeout(connect, RETRY_MS);
  };
  const heard = (now) => {
    clearTimeout(watchdog);
    watchdog = setTimeout(reopen, SILENT_MS);
    clockOffset = now - Date.now() / 1000;
    showLink("live", "live");
  };
  source.addEventListener("fleet", (event) => {
    const view = JSON.parse(event.data);
    heard(view.now);
    show(view);
  });
  source.addEventListener("heartbeat", (event) => heard(JSON.parse(event.data).now));
  source.addEventListener("error", reopen);
}

connect();
setInterval(showTimes, 1000);
