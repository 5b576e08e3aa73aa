// Who changed what, and when.

import { get, Refused } from "./api.js";
import { byId, make } from "./dom.js";
import { paced } from "./live.js";
import { trouble } from "./notices.js";
import { deviceAddress } from "./router.js";
import { moment } from "./words.js";

const PAGE = 100;
const PACE_MS = 5_000;

let open = false;
let lines = [];
let ended = false;

const isTime = (name, value) => typeof value === "number" && (name === "until" || name.endsWith("_at"));
const told = (name, value) => (isTime(name, value) ? moment(value) : typeof value === "string" ? value : JSON.stringify(value));
const detail = (known) => Object.entries(known).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name}: ${told(name, value)}`).join(", ");

// What was changed: an alert is better known by its stream than by its id.
function target(line) {
  const { site, device, stream, ...rest } = line.detail;
  if (!site || !device || !stream) return [line.target, line.detail];
  return [make("a", { href: deviceAddress(site, device, stream), title: line.target, text: `${device} / ${stream}` }), { site, ...rest }];
}

function row(line) {
  const cell = (label, shown, className) => make("td", { role: "cell", "data-label": label, class: className }, shown);
  const [to, known] = target(line);
  return make("tr", { role: "row" }, cell("When", moment(line.at), "value"), cell("Who", line.who, "word"), cell("What", line.action, "word"), cell("To", to, "target"), cell("Detail", detail(known), "aside"));
}

function show() {
  byId("audit-rows").replaceChildren(...lines.map(row));
  byId("audit-more").hidden = ended;
  byId("audit-none").hidden = lines.length > 0;
  byId("audit-card").hidden = lines.length === 0;
}

async function load(older) {
  if (!open) return;
  try {
    const found = await get("/api/audit", { limit: PAGE, before: older ? lines.at(-1)?.line : null });
    if (!open) return;
    const newest = lines[0]?.line ?? 0;
    if (older) lines = [...lines, ...found.lines];
    else if (lines.length && found.lines.some((line) => line.line <= newest)) lines = [...found.lines.filter((line) => line.line > newest), ...lines];
    else lines = found.lines;
    if (older || lines.length <= PAGE) ended = found.lines.length < PAGE;
    show();
  } catch (error) {
    if (error instanceof Refused) trouble(error.message);
  }
}

const loadPaced = paced(() => load(false), PACE_MS);

export const auditView = {
  id: "view-audit",
  title: "Audit",
  show() {
    open = true;
    lines = [];
    const header = (text) => make("th", { role: "columnheader", scope: "col", text });
    byId("view-audit").replaceChildren(
      make("h1", { id: "audit-title", text: "Who did what" }),
      make("p", { class: "aside lead", text: "Every change that was made through this server, the latest first." }),
      make(
        "div",
        { class: "card scrolling", tabindex: "0", role: "group", "aria-label": "Changes", id: "audit-card", hidden: true },
        make("table", { role: "table", class: "audit", "aria-labelledby": "audit-title" }, make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...["When", "Who", "What", "To", "Detail"].map(header))), make("tbody", { role: "rowgroup", id: "audit-rows" })),
      ),
      make("p", { class: "card calm", id: "audit-none", text: "Nothing has been changed yet.", hidden: true }),
      make("p", { class: "more" }, make("button", { type: "button", class: "plain", id: "audit-more", text: "Show older ones", hidden: true, onclick: () => load(true) })),
    );
    load(false);
  },
  hide() {
    open = false;
  },
  update: loadPaced,
  tick() {},
};
