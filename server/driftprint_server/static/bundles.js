// Which bundles run where: sites by bundles, with counts that lead to the streams.

import { get, Refused } from "./api.js";
import { byId, make } from "./dom.js";
import { paced } from "./live.js";
import { trouble } from "./notices.js";
import { address } from "./router.js";
import { count, plural } from "./words.js";

const PACE_MS = 3_000;
const MOST_SITES = 200;
const MOST_BUNDLES = 20;

let open = false;
let search = "";
let shown = "";

const link = (number, query, label) => make("a", { href: address("fleet", [], query), text: count(number), "aria-label": label });

// An empty string, for streams that have not reported, is a filter too; a bare query would drop it.
const filter = (bundle, site) => ({ bundle: bundle === "" ? null : bundle, site });

function cell(number, total, bundle, site) {
  const td = make("td", { role: "cell", class: "number share", "data-label": bundle || "no report yet" });
  if (!number) {
    td.append(make("span", { class: "aside", text: "–" }));
    return td;
  }
  td.dataset.share = String(Math.min(4, Math.ceil((4 * number) / total)));
  const label = `${plural(number, "stream")} at ${site ?? "all sites"} ${bundle ? `run ${bundle}` : "have not reported"}`;
  td.append(bundle ? link(number, filter(bundle, site), label) : make("span", { text: count(number) }));
  return td;
}

function table(found) {
  const names = Object.entries(found.bundles).sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const bundles = names.slice(0, MOST_BUNDLES).sort((a, b) => (a === "") - (b === "") || a.localeCompare(b, "en", { numeric: true }));
  const header = (text, className) => make("th", { role: "columnheader", scope: "col", class: className, text });
  const total = Object.values(found.bundles).reduce((sum, number) => sum + number, 0);
  const row = (name, streams, counts, site) =>
    make(
      "tr",
      { role: "row", class: site ? null : "total" },
      make("th", { role: "rowheader", scope: "row" }, site ? make("a", { class: "name", href: address("fleet", [], { site }), text: name }) : make("span", { class: "name", text: name })),
      ...bundles.map((bundle) => cell(counts[bundle] ?? 0, streams, bundle, site)),
      make("td", { role: "cell", class: "number", "data-label": "All" }, make("span", { text: count(streams) })),
    );
  const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, header("Site"), ...bundles.map((bundle) => header(bundle || "no report yet", "number")), header("All", "number")));
  const body = make("tbody", { role: "rowgroup" }, ...found.sites.map((site) => row(site.site, site.streams, site.bundles, site.site)), row("All sites", total, found.bundles));
  const notes = [
    names.length > bundles.length ? `${plural(names.length - bundles.length, "rare bundle")} not shown.` : "",
    found.total > found.sites.length ? `The first ${count(found.sites.length)} of ${count(found.total)} sites; search for others.` : "",
  ].filter(Boolean);
  return [make("div", { class: "card scrolling", tabindex: "0", role: "group", "aria-label": "Bundles by site" }, make("table", { role: "table", class: "map", "aria-labelledby": "bundles-title" }, head, body)), ...notes.map((text) => make("p", { class: "aside", text }))];
}

async function load() {
  if (!open) return;
  try {
    const found = await get("/api/fleet/bundles", { search, limit: MOST_SITES });
    const { now, ...rest } = found;
    if (!open || shown === JSON.stringify(rest)) return;
    shown = JSON.stringify(rest);
    const focused = document.activeElement?.getAttribute("href");
    const some = Object.keys(found.bundles).length > 0;
    byId("bundles-table").replaceChildren(...(some ? table(found) : [make("p", { class: "card calm", text: "No stream has reported yet." })]));
    if (focused && byId("bundles-table").querySelector(`[href="${CSS.escape(focused)}"]`)) byId("bundles-table").querySelector(`[href="${CSS.escape(focused)}"]`).focus();
  } catch (error) {
    if (error instanceof Refused) trouble(error.message);
  }
}

const loadPaced = paced(load, PACE_MS);

export const bundlesView = {
  id: "view-bundles",
  title: "Bundles",
  show() {
    open = true;
    shown = "";
    const input = make("input", { id: "site-search", type: "search", placeholder: "Search sites", maxlength: "200", autocomplete: "off", value: search });
    input.addEventListener("input", () => {
      search = input.value.trim();
      load();
    });
    byId("view-bundles").replaceChildren(
      make("div", { class: "bar-of-tools" }, make("h1", { id: "bundles-title", text: "Which bundle runs where" }), make("div", { class: "filters", role: "search" }, make("label", { class: "unseen", for: "site-search", text: "Search sites" }), input)),
      make("p", { class: "aside lead", text: "Streams by site and bundle, by their latest word. A number leads to its streams." }),
      make("div", { id: "bundles-table" }),
    );
    load();
  },
  hide() {
    open = false;
  },
  update: loadPaced,
  tick() {},
};
