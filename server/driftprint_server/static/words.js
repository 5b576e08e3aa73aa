// Numbers and times as people read them.

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  const value = 100 * ratio;
  if (value > 999) return ">999%";
  return `${value > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)}%`;
}

export function perSecond(rate) {
  if (rate === null || rate === undefined) return "–";
  return rate >= 100 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1);
}

export const count = (number) => number.toLocaleString("en");

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function ago(at, now) {
  if (at === null || at === undefined) return "never";
  const seconds = Math.max(0, Math.round(now - at));
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const [unit, size] = number >= 1e9 ? ["GB", 1e9] : ["MB", 1e6];
  const value = number / size;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}

const withDate = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const timeOnly = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const dayOnly = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const moment = (at) => withDate.format(at * 1000);
export const clockTime = (at) => timeOnly.format(at * 1000);
export const day = (at) => dayOnly.format(at * 1000);

export const cause = (name) => ({ drift: "drift", class_mix: "class mix" })[name] ?? `camera: ${name.replaceAll("_", " ")}`;
