// A device's own health, by its latest word.

import { make } from "./dom.js";
import { bytes, count, duration, percent } from "./words.js";

const yes = (value, text) => (value ? text : null);

// [name, value, whether it is bad]; what the device does not tell is left out.
function facts({ device, health }) {
  const vitals = health?.vitals ?? {};
  const memory = vitals.memory_bytes ? `${bytes(vitals.memory_available_bytes)} of ${bytes(vitals.memory_bytes)} free` : null;
  const disk = vitals.disk_bytes ? `${bytes(vitals.disk_free_bytes)} of ${bytes(vitals.disk_bytes)} free` : null;
  const slowed = yes(vitals.throttled, "slowed down now") ?? yes(vitals.throttled_since_boot, "slowed down since it started");
  const weak = yes(vitals.under_voltage, "too weak now") ?? yes(vitals.under_voltage_since_boot, "too weak since it started");
  const found = [
    ["Agent", device.agent_version],
    ["Running for", health ? duration(health.uptime_seconds) : null],
    ["Waiting in its outbox", health ? `${count(health.outbox_messages)} messages` : null],
    ["Dropped from its outbox", health?.outbox_dropped_total ? count(health.outbox_dropped_total) : null, true],
    ["Processor in use", vitals.cpu_ratio === null || vitals.cpu_ratio === undefined ? null : percent(vitals.cpu_ratio)],
    ["Memory", memory],
    ["Disk", disk],
    ["Temperature", vitals.temperature_celsius ? `${vitals.temperature_celsius.toFixed(0)} °C` : null],
    ["Processor", slowed, true],
    ["Power supply", weak, true],
    ["Disk refused writes", health?.store_errors_total ? count(health.store_errors_total) : null, true],
    ["Outbox", yes(health?.store_volatile, "in memory alone: the disk takes no writes"), true],
    ["Store made anew", health?.store_mended_total ? `${count(health.store_mended_total)} times` : null, true],
    ...Object.entries(health?.providers ?? {}).map(([stream, names]) => [`${stream} runs on`, names.map((name) => name.replace(/ExecutionProvider$/, "")).join(", ")]),
    ...Object.entries(health?.bundle_errors ?? {}).map(([stream, error]) => [`${stream} does not run the wanted bundle`, error, true]),
  ];
  return found.filter(([, value]) => value !== null && value !== undefined);
}

export function makeHealth() {
  const element = make("dl", { class: "facts card" });
  const show = (detail) => {
    const found = facts(detail);
    if (element.dataset.shown === JSON.stringify(found)) return;
    element.dataset.shown = JSON.stringify(found);
    const lines = found.map(([name, value, bad]) => make("div", { class: bad ? "bad" : null }, make("dt", { text: name }), make("dd", { text: value })));
    element.replaceChildren(...(lines.length ? lines : [make("div", {}, make("dt", { text: "Health" }), make("dd", { text: "not told yet" }))]));
  };
  return { element, show };
}
