// The fleet's view: figures, alerts, and a table that the server searches, sorts and pages.

import { get, Refused } from "./api.js";
import { refreshAlerts, showAlerts, startAlerts } from "./alerts.js";
import { byId, say } from "./dom.js";
import { showWaiting } from "./enrolment.js";
import { paced } from "./live.js";
import { trouble } from "./notices.js";
import { route, setQuery } from "./router.js";
import { showRows } from "./rows.js";
import { count, perSecond } from "./words.js";

const PAGE = 50;
const PACE_MS = 1_000;
const TYPING_MS = 200;

let open = false;
let refused = false; // whether the latest request was
let asked = 0; // numbers the requests, so that an answer that was overtaken is dropped

const filters = () => {
  const { query } = route();
  return {
    search: query.get("search") ?? "",
    site: query.get("site"),
    state: query.get("state") ?? "",
    bundle: query.get("bundle"),
    sort: query.get("sort") ?? "name",
    descending: query.get("descending") === "true",
    page: Math.max(1, Number.parseInt(query.get("page") ?? "1", 10) || 1),
  };
};

async function load() {
  if (!open) return;
  const { page, ...wanted } = filters();
  const number = (asked += 1);
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(wanted)) if (value !== null && (value !== "" || name === "bundle")) query.set(name, value);
  query.set("offset", String((page - 1) * PAGE));
  query.set("limit", String(PAGE));
  try {
    const found = await get(`/api/fleet/streams?${query}`);
    if (number !== asked || !open) return;
    if (found.rows.length === 0 && found.total > 0) {
      setQuery({ page: null });
      return void load();
    }
    show(found, page, wanted);
    if (refused) trouble("");
    refused = false;
  } catch (error) {
    if (!(error instanceof Refused)) return; // the server is away, and the connection says so
    refused = true;
    trouble(error.message);
  }
}

const loadPaced = paced(load, PACE_MS);

function show(found, page, wanted) {
  const first = (page - 1) * PAGE;
  showRows(byId("rows"), found.rows);
  byId("nothing-found").hidden = found.total > 0;
  const few = found.total <= PAGE;
  say(byId("pager-text"), few ? `${count(found.total)} of ${count(found.all)}` : `${count(first + 1)} to ${count(first + found.rows.length)} of ${count(found.total)}`);
  byId("pager").hidden = few && found.total === found.all;
  for (const [id, possible] of [["previous", page > 1], ["next", first + PAGE < found.total]]) {
    byId(id).hidden = few;
    byId(id).setAttribute("aria-disabled", String(!possible));
  }
  const only = [wanted.bundle !== null ? (wanted.bundle === "" ? "without a report" : `running ${wanted.bundle}`) : "", wanted.site ? `at ${wanted.site}` : ""].filter(Boolean);
  byId("filtered").hidden = only.length === 0;
  say(byId("filtered-text"), `Only streams ${only.join(" ")}. `);
}

function showFigures(figures) {
  byId("empty").hidden = figures.devices > 0;
  byId("streams").hidden = figures.devices === 0;
  say(byId("devices-online"), count(figures.devices_online));
  say(byId("devices-all"), `of ${count(figures.devices)}`);
  say(byId("streams-online"), count(figures.streams_reporting));
  say(byId("streams-all"), `of ${count(figures.streams)}`);
  say(byId("frames"), perSecond(figures.frames_per_second));
  say(byId("alarms"), count(figures.alarms));
  byId("alarm-tile").classList.toggle("alarming", figures.alarms > 0);
}

function showFilters() {
  const { search, state, sort, descending } = filters();
  if (byId("search").value.trim() !== search) byId("search").value = search;
  byId("state").value = state;
  byId("sort").value = sort;
  say(byId("direction"), descending ? "↓" : "↑");
  byId("direction").setAttribute("aria-label", `${descending ? "Descending" : "Ascending"} order, reverse it`);
  for (const header of document.querySelectorAll("#table th[data-sort]")) {
    const chosen = header.dataset.sort === sort;
    if (chosen) header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  }
}

function change(changes) {
  setQuery({ page: null, ...changes });
  showFilters();
  load();
}

// Of measurements one wants to see the greatest first.
const GREATEST_FIRST = new Set(["outlier_ratio", "evidence", "frames_per_second", "last_seen"]);

function sortBy(sort) {
  const now = filters();
  const descending = now.sort === sort ? !now.descending : GREATEST_FIRST.has(sort);
  change({ sort: sort === "name" ? null : sort, descending: descending || null });
}

function turn(step) {
  const { page } = filters();
  const button = byId(step > 0 ? "next" : "previous");
  if (button.getAttribute("aria-disabled") === "true") return;
  change({ page: page + step > 1 ? page + step : null });
  byId("streams").scrollIntoView();
}

export function startFleet() {
  let typing;
  byId("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ search: byId("search").value.trim() }), TYPING_MS);
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("state").addEventListener("change", () => change({ state: byId("state").value }));
  byId("sort").addEventListener("change", () => sortBy(byId("sort").value));
  byId("direction").addEventListener("click", () => sortBy(filters().sort));
  byId("unfilter").addEventListener("click", () => change({ site: null, bundle: null }));
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  for (const header of document.querySelectorAll("#table th[data-sort]")) {
    header.querySelector("button").addEventListener("click", () => sortBy(header.dataset.sort));
  }
  startAlerts();
}

export const fleetView = {
  id: "view-fleet",
  title: "Fleet",
  show() {
    open = true;
    showFilters();
    load();
  },
  hide() {
    open = false;
  },
  update(summary) {
    showFigures(summary.figures);
    showAlerts(summary);
    showWaiting(summary.server.waiting);
    loadPaced();
  },
  tick: refreshAlerts,
};
