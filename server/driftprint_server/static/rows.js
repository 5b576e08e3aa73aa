// A row of the fleet's table.

import { makeAge } from "./ages.js";
import { bar, sparkline } from "./charts.js";
import { keyed, make, say } from "./dom.js";
import { deviceAddress } from "./router.js";
import { cause, count, perSecond, percent } from "./words.js";

const POINTS = 60; // of a sparkline

function makeRow() {
  const element = make("tr", { role: "row" });
  const parts = {};
  const cell = (name, className, label) => {
    const td = make("td", { role: "cell", class: className, "data-label": label });
    element.append(td);
    return (parts[name] = td);
  };
  parts.name = make("a", { class: "name" });
  parts.origin = make("div", { class: "origin" });
  parts.faults = make("div", { class: "aside" });
  cell("stream").append(parts.name, parts.origin, parts.faults);
  cell("state", "state");
  cell("frames", "number value", "Frames/s");
  parts.ratio = make("span", { class: "value" });
  parts.ratioBar = bar();
  parts.spark = sparkline();
  cell("outliers", "wide", "Outliers").append(make("div", { class: "gauge" }, parts.ratio, parts.ratioBar.element, parts.spark.element));
  parts.evidence = make("span", { class: "value" });
  parts.evidenceBar = bar();
  cell("evidenceCell", null, "Evidence").append(make("div", { class: "gauge short" }, parts.evidence, parts.evidenceBar.element));
  parts.bundle = make("div", { class: "bundle" });
  cell("bundleCell", null, "Bundle").append(parts.bundle);
  parts.seen = makeAge();
  cell("seenCell", "number value", "Last seen").append(parts.seen.element);
  return { element, parts };
}

// What a stream is in, as chips: all that is wrong, else the device's state.
export function chips(state, stream) {
  const wrong = [
    ...(stream?.alarm ? [["alarm", "alarm"]] : []),
    ...(stream?.class_mix_alarm ? [["stale", "class mix"]] : []),
    ...(stream?.camera_faults ?? []).map((fault) => ["stale", cause(fault)]),
  ];
  return wrong.length && state === "online" ? wrong : [...wrong, [state, state]];
}

export function showChips(cell, state, stream) {
  const wanted = chips(state, stream);
  if (cell.dataset.shown === JSON.stringify(wanted)) return;
  cell.dataset.shown = JSON.stringify(wanted);
  cell.replaceChildren(...wanted.map(([className, text]) => make("span", { class: `chip ${className}`, text })));
}

function showRow(row, item) {
  const { element, parts } = row;
  const { stream } = item;
  const alarm = Boolean(stream?.alarm);
  element.className = [alarm ? "alarming" : "", item.state === "online" ? "" : "away"].join(" ").trim();
  say(parts.name, stream ? `${item.device} / ${stream.stream}` : item.device);
  parts.name.href = deviceAddress(item.site, item.device, stream?.stream);
  say(parts.origin, item.site);
  const faults = Object.entries(stream?.faults_total ?? {}).filter(([, total]) => total > 0);
  say(parts.faults, faults.map(([reason, total]) => `${count(total)} faulty: ${reason}`).join(", "));
  showChips(parts.state, item.state, stream);
  say(parts.frames, perSecond(stream?.frames_per_second));
  say(parts.ratio, percent(stream?.outlier_ratio));
  parts.ratioBar.show(stream?.outlier_ratio ?? 0, alarm);
  parts.spark.show(item.outlier_ratios, POINTS);
  say(parts.evidence, percent(stream?.evidence));
  parts.evidenceBar.show(stream?.evidence ?? 0, (stream?.evidence ?? 0) >= 1);
  say(parts.bundle, stream?.bundle ?? "–");
  parts.bundle.title = stream?.bundle ?? "";
  parts.seen.show(item.last_seen);
}

const key = (item) => JSON.stringify([item.site, item.device, item.stream?.stream]);

export const showRows = (body, items) => keyed(body, items, key, makeRow, showRow);
