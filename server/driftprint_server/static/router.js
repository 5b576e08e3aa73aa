// Which view the address asks for: #/, #/device/SITE/DEVICE/STREAM, #/bundles, #/audit, each with a query.

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray percent sign
  }
}

export function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...parts] = path.split("/").map(decoded);
  return { view: view || "fleet", parts, query: new URLSearchParams(query) };
}

export function address(view, parts = [], query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const path = [view === "fleet" ? "" : view, ...parts.map(encodeURIComponent)].join("/");
  return `#/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

// Changes the query of the address, without a new entry in the browser's history.
export function setQuery(changes) {
  const { view, parts, query } = route();
  history.replaceState(null, "", address(view, parts, { ...Object.fromEntries(query), ...changes }));
}

export const deviceAddress = (site, device, stream) => address("device", stream ? [site, device, stream] : [site, device]);
