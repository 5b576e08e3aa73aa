// Charts of a stream over one time axis: outlier ratio, the alarm's evidence beneath it, camera faults, classes.
// A moment is chosen by pointing or, as on a slider, by arrow keys; what was measured then is told as text.

import { draw } from "./charts.js";
import { make, say } from "./dom.js";
import { cause, clockTime, day, moment, perSecond, percent } from "./words.js";

const LEFT = 46;
const RIGHT = 10;
const TITLE = 24;
const PANEL = { ratio: 132, evidence: 84, fault: 12, label: 15, classes: 26 };
const GAP = 8;
const AXIS = 22;
const MOST_CLASSES = 8;
const LETTER = 6.5; // the mean width of one
const STEPS = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14_400].map((minutes) => 60 * minutes);

// An alert of a device that was set up anew is over, though nobody has cleared it.
const endOf = (alert) => alert.cleared_at ?? (alert.current ? Infinity : alert.updated_at);

const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.max(1, most - 1))}…`);

const scaleTop = (greatest) => [0.1, 0.25, 0.5].find((top) => greatest <= 0.95 * top) ?? 1;

// The classes that stand out the most, by name.
function chosenClasses(points) {
  const greatest = new Map();
  for (const { classes } of points) {
    for (const [label, ratio] of Object.entries(classes ?? {})) greatest.set(label, Math.max(greatest.get(label) ?? 0, ratio));
  }
  const all = [...greatest].sort((a, b) => b[1] - a[1]).map(([label]) => label);
  return { some: all.slice(0, MOST_CLASSES).sort((a, b) => a.localeCompare(b, "en", { numeric: true })), all };
}

function ticks(start, end, most) {
  const step = STEPS.find((seconds) => (end - start) / seconds <= most) ?? STEPS.at(-1);
  const shift = 60 * new Date(start * 1000).getTimezoneOffset(); // round hours of the place, not of Greenwich
  const first = Math.ceil((start - shift) / step) * step + shift;
  const found = [];
  for (let at = first; at <= end; at += step) found.push({ at, text: step >= 86_400 ? day(at) : clockTime(at) });
  return found;
}

// Runs of points without a gap, as [x, y] pairs.
function runs(points, value, x, y, gap) {
  const found = [];
  let last = null;
  for (const point of points) {
    const measured = value(point);
    if (measured === null || measured === undefined) continue;
    if (last === null || point.at - last > gap) found.push([]);
    found.at(-1).push([x(point.at).toFixed(1), y(measured).toFixed(1)]);
    last = point.at;
  }
  return found;
}

const linePath = (found) => found.map((run) => `M${run.map((pair) => pair.join(" ")).join("L")}${run.length === 1 ? "h.1" : ""}`).join("");
const areaPath = (found, bottom) =>
  found.filter((run) => run.length > 1).map((run) => `M${run[0][0]} ${bottom}L${run.map((pair) => pair.join(" ")).join("L")}L${run.at(-1)[0]} ${bottom}Z`).join("");

export function timeChart() {
  const svg = draw("svg", { class: "timechart", "aria-hidden": "true" });
  const slider = make("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": "Moment", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-describedby": "chart-help" }, svg);
  const readout = make("p", { class: "readout" });
  const holder = make("tbody", { role: "rowgroup" });
  const head = make("tr", { role: "row" });
  const table = make("details", { class: "as-table" }, make("summary", { text: "The same as a table" }), make("div", { class: "scrolling", tabindex: "0", role: "group", "aria-label": "Measurements" }, make("table", { role: "table", "aria-label": "Measurements" }, make("thead", { role: "rowgroup" }, head), holder)));
  const element = make(
    "figure",
    { class: "chart" },
    readout,
    slider,
    make("p", { class: "aside", id: "chart-help", text: "Point at a moment, or choose one with the arrow keys. Shaded: an alert from raise to clear." }),
    table,
  );
  let data = null;
  let width = 0;
  let chosen = null; // the moment, in seconds
  let marker = null;
  let x = () => 0;

  const nearest = (at) => data.points.reduce((best, point) => (best && Math.abs(best.at - at) <= Math.abs(point.at - at) ? best : point), null);
  const alertsAt = (at) => data.alerts.filter((alert) => alert.raised_at <= at && at <= endOf(alert));

  function words(point) {
    const classes = chosenClasses(data.points).some.filter((label) => point.classes?.[label] !== undefined);
    return [
      `outliers ${percent(point.outlier_ratio)}`,
      `evidence ${percent(point.evidence)}`,
      `${perSecond(point.frames_per_second)} frames/s`,
      ...(point.camera_faults ?? []).map(cause),
      ...(point.class_mix_alarm ? ["class mix"] : []),
      ...(classes.length ? [`classes: ${classes.map((label) => `${label} ${percent(point.classes[label])}`).join(", ")}`] : []),
      ...alertsAt(point.at).map((alert) => `alert: ${cause(alert.cause)}`),
    ].join(" · ");
  }

  function tell() {
    const point = data?.points.length ? (chosen === null ? data.points.at(-1) : nearest(chosen)) : null;
    marker?.replaceChildren();
    if (point === null) {
      say(readout, data === null ? "" : "Nothing was heard in this time.");
      slider.setAttribute("aria-valuetext", readout.textContent);
      return;
    }
    readout.replaceChildren(make("strong", { text: chosen === null ? `Latest, ${moment(point.at)}` : moment(point.at) }), ` ${words(point)}`);
    const index = data.points.indexOf(point);
    for (const [name, value] of [["valuemin", 0], ["valuemax", data.points.length - 1], ["valuenow", index], ["valuetext", `${moment(point.at)}: ${words(point)}`]]) {
      slider.setAttribute(`aria-${name}`, String(value));
    }
    if (chosen === null) return;
    const at = x(point.at);
    marker.append(draw("line", { x1: at, x2: at, y1: TITLE, y2: marker.bottom }));
    for (const dot of marker.dots) {
      const y = dot(point);
      if (y !== null) marker.append(draw("circle", { cx: at, cy: y, r: 3.5 }));
    }
  }

  function render() {
    svg.replaceChildren();
    marker = null;
    if (data === null || width < 100) return;
    const { points, start, end } = data;
    const right = width - RIGHT;
    x = (at) => LEFT + ((Math.min(end, Math.max(start, at)) - start) / (end - start)) * (right - LEFT);
    const distances = points.slice(1).map((point, i) => point.at - points[i].at).sort((a, b) => a - b);
    const gap = 3 * Math.max((end - start) / 300, distances[Math.floor(distances.length / 2)] ?? 0);
    const faults = [...new Set(points.flatMap((point) => point.camera_faults ?? []))];
    const { some: classes, all } = chosenClasses(points);
    let top = 0;
    const dots = [];
    const panels = []; // from and to, of those that alerts are marked in
    const under = draw("g");
    svg.append(under);

    const title = (text, hint) => {
      const label = draw("text", { x: LEFT, y: top + 15, class: "title" }, text);
      if (hint) label.append(draw("tspan", { class: "hint", dx: 8 }, hint));
      svg.append(label);
      top += TITLE;
    };
    const line = (value, height, greatest, className) => {
      const bottom = top + height;
      const y = (measured) => bottom - Math.min(1, measured / greatest) * height;
      const found = runs(points, value, x, y, gap);
      svg.append(draw("line", { x1: LEFT, x2: right, y1: bottom, y2: bottom, class: "base" }));
      svg.append(draw("path", { class: `area ${className}`, d: areaPath(found, bottom) }), draw("path", { class: `line ${className}`, d: linePath(found) }));
      dots.push((point) => ((value(point) ?? null) === null ? null : y(value(point))));
      return y;
    };
    const grid = (y, values) => {
      for (const value of values) {
        svg.append(draw("text", { x: LEFT - 8, y: y(value) + 4, class: "tick", "text-anchor": "end" }, percent(value)));
        svg.append(draw("line", { x1: LEFT, x2: right, y1: y(value), y2: y(value), class: "grid" }));
      }
    };

    title("Outliers", "share of the last frames");
    const greatest = scaleTop(Math.max(0, ...points.map((point) => point.outlier_ratio ?? 0)));
    grid(line((point) => point.outlier_ratio, PANEL.ratio, greatest, "ratio"), [0, greatest / 2, greatest]);
    panels.push([top, top + PANEL.ratio]);
    top += PANEL.ratio + GAP;

    title("Evidence", "alarm at 100%");
    const high = points.some((point) => point.evidence > 1.25);
    const y = line((point) => point.evidence, PANEL.evidence, high ? 2 : 1.25, "evidence");
    grid(y, [0]);
    svg.append(draw("line", { x1: LEFT, x2: right, y1: y(1), y2: y(1), class: "threshold" }));
    svg.append(draw("text", { x: LEFT - 8, y: y(1) + 4, class: "tick", "text-anchor": "end" }, "100%"));
    panels.push([top, top + PANEL.evidence]);
    top += PANEL.evidence + GAP;

    for (const fault of faults) {
      title("Camera", fault.replaceAll("_", " "));
      const seen = points.map((point) => ({ at: point.at, on: point.camera_faults?.includes(fault) ? 1 : null }));
      for (const run of runs(seen, (point) => point.on, x, () => 0, gap)) {
        svg.append(draw("rect", { x: run[0][0], y: top, width: Math.max(3, run.at(-1)[0] - run[0][0]), height: PANEL.fault, rx: 3, class: "fault" }));
      }
      svg.append(draw("line", { x1: LEFT, x2: right, y1: top + PANEL.fault, y2: top + PANEL.fault, class: "grid" }));
      top += PANEL.fault + GAP;
    }

    if (classes.length) {
      title("Outliers by predicted class", width < 520 ? "" : all.length > classes.length ? `the ${classes.length} most striking of ${all.length}` : "each from 0 to 100%");
      for (const label of classes) {
        const written = draw("text", { x: LEFT, y: top + 11, class: "tick" }, shortened(label, Math.floor((right - LEFT) / LETTER)));
        written.append(draw("title", {}, label));
        svg.append(written);
        top += PANEL.label;
        line((point) => point.classes?.[label] ?? null, PANEL.classes, 1, "ratio");
        top += PANEL.classes + GAP;
      }
    }

    for (const tick of ticks(start, end, Math.max(2, Math.floor((right - LEFT) / 84)))) {
      const at = x(tick.at);
      under.append(draw("line", { x1: at, x2: at, y1: TITLE, y2: top, class: "grid" }));
      const anchor = at > right - 24 ? "end" : at < LEFT + 24 ? "start" : "middle";
      svg.append(draw("text", { x: at, y: top + 14, class: "tick", "text-anchor": anchor }, tick.text));
    }
    for (const alert of data.alerts) {
      const [from, to] = [x(alert.raised_at), x(endOf(alert))];
      if (endOf(alert) < start || alert.raised_at > end) continue;
      const kind = alert.cause === "drift" ? "drift" : "other";
      for (const [y1, y2] of panels) {
        under.append(draw("rect", { x: from, y: y1, width: Math.max(2, to - from), height: y2 - y1, class: `raised ${kind}` }));
        if (alert.raised_at >= start) under.append(draw("line", { x1: from, x2: from, y1, y2, class: `raise ${kind}` }));
        if (alert.cleared_at) under.append(draw("line", { x1: to, x2: to, y1, y2, class: `clear ${kind}` }));
      }
    }
    marker = draw("g", { class: "marker" });
    Object.assign(marker, { bottom: top, dots });
    svg.append(marker);
    svg.setAttribute("width", width);
    svg.setAttribute("height", top + AXIS);
    svg.setAttribute("viewBox", `0 0 ${width} ${top + AXIS}`);
    tell();
  }

  function fillTable() {
    if (!table.open || data === null) return;
    const { all } = chosenClasses(data.points);
    const header = (text) => make("th", { role: "columnheader", scope: "col", text });
    head.replaceChildren(...["Time", "Outliers", "Evidence", "Frames/s", "Camera", "Alert", ...all].map(header));
    holder.replaceChildren(
      ...data.points.map((point) => {
        const cells = [percent(point.outlier_ratio), percent(point.evidence), perSecond(point.frames_per_second), (point.camera_faults ?? []).map((fault) => fault.replaceAll("_", " ")).join(", ") || "–", alertsAt(point.at).map((alert) => cause(alert.cause)).join(", ") || "–", ...all.map((label) => percent(point.classes?.[label]))];
        return make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row", text: moment(point.at) }), ...cells.map((text) => make("td", { role: "cell", text })));
      }),
    );
  }

  function choose(at) {
    chosen = at;
    if (data !== null) tell();
  }

  function step(event) {
    if (data === null || !data.points.length) return;
    const last = data.points.length - 1;
    const index = chosen === null ? last : data.points.indexOf(nearest(chosen));
    const to = { ArrowLeft: index - 1, ArrowDown: index - 1, ArrowRight: index + 1, ArrowUp: index + 1, PageDown: index - 20, PageUp: index + 20, Home: 0, End: last }[event.key];
    if (to === undefined && event.key !== "Escape") return;
    event.preventDefault();
    choose(to === undefined ? null : data.points[Math.min(last, Math.max(0, to))].at);
  }

  const point = (event) => {
    if (data === null) return;
    const across = (event.clientX - svg.getBoundingClientRect().left - LEFT) / (width - RIGHT - LEFT);
    choose(data.start + Math.min(1, Math.max(0, across)) * (data.end - data.start));
  };
  slider.addEventListener("keydown", step);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(null));
  slider.addEventListener("blur", () => choose(null));
  table.addEventListener("toggle", fillTable);
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    render();
  }).observe(slider);

  // `next`: {start, end, points, alerts}
  const show = (next) => {
    data = next;
    render();
    fillTable();
  };
  return { element, show };
}
