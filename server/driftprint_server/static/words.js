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

export function ago(at, now) {
  if (at === null || at === undefined) return "never";
  const seconds = Math.max(0, Math.round(now - at));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}
