// The page of rollouts: what is being rolled out, what speaks against it, and what an operator can do. Whatever devices
// and bundles say is put in as text.

import { get, post } from "./api.js";
import { byId, keyed, make, say } from "./dom.js";
import { trouble } from "./notices.js";
import { deviceAddress } from "./router.js";
import { onLogOut, session, startSession } from "./session.js";
import { ago, bytes, count, duration, moment, percent, plural } from "./words.js";

const PACE_MS = 3_000;
const FIRST_SHOWN = 10; // the latest; the others when they are asked for

const WORDS = {
  refused: "refused it",
  overdue: "overdue",
  alarmed: "alarmed",
  running: "run it",
  told: "told",
  waiting: "waiting",
  returning: "going back",
  back: "back",
  left: "run something else",
};
const STATUS = { running: "online", stopped: "alarm", done: "online", superseded: "offline" };

let now = 0; // the server's
let found = []; // the latest first
let showsAll = false;

// --- requests ----------------------------------------------------------------------------------------

async function act(path, body) {
  try {
    await post(path, body);
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
  await load();
}

function sure(title, text, label) {
  say(byId("sure-title"), title);
  say(byId("sure-text"), text);
  say(byId("sure-do"), label);
  const dialog = byId("sure");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// --- a rollout ---------------------------------------------------------------------------------------

const following = (rollout) => (rollout.progress.running ?? 0) + (rollout.progress.alarmed ?? 0);
const nameOf = (rollout) => rollout.bundle.replace(/-\d+$/, "");

// Whether there is a later one of the same bundle: the earlier one cannot be gone on with.
const isFollowed = (rollout) => found.slice(0, found.findIndex((each) => each.id === rollout.id)).some((later) => nameOf(later) === nameOf(rollout));

const scope = (rollout) => [rollout.device && `${rollout.device}, ${rollout.site}`, rollout.site, "the whole fleet"].find(Boolean);

function button(text, rollout, onclick, title) {
  const allowed = session.mayAct;
  return make("button", {
    type: "button",
    text,
    "aria-label": `${text}: rollout of ${rollout.bundle}`,
    "aria-disabled": allowed ? null : "true",
    title: allowed ? title : session.reason,
    onclick: allowed ? onclick : () => say(byId("announcer"), session.reason),
  });
}

function buttons(rollout) {
  const path = `/api/rollouts/${encodeURIComponent(rollout.id)}`;
  const revision = rollout.revision;
  const runs = following(rollout);
  const stop = (back) => async () => {
    const told = back
      ? `${plural(runs, "stream")} that run it go back to what they ran before. Nobody else gets it.`
      : `${plural(runs, "stream")} that run it keep it. Nobody else gets it.`;
    if (await sure(`Stop the rollout of ${rollout.bundle}?`, told, back ? "Stop and go back" : "Stop")) await act(`${path}/stop`, { back, revision });
  };
  const leave = async () => {
    if (await sure(`Leave the rollout of ${rollout.bundle} stopped?`, "It is then no longer alerted of.", "Leave it stopped")) await act(`${path}/stop`, { back: rollout.back, revision });
  };
  const widen = (further) => async () => {
    if (await sure(`Give ${rollout.bundle} to ${further} % now?`, "The present stage is not waited for.", "Widen")) await act(`${path}/widen`, { percent: further, revision });
  };
  const resume = async () => {
    if (await sure(`Go on with ${rollout.bundle}?`, "What spoke against it until now counts no more.", "Resume")) await act(`${path}/resume`, { revision });
  };
  const shown = [];
  const further = rollout.stages.find((stage) => stage > rollout.percent) ?? (rollout.percent < 100 ? 100 : null);
  if (rollout.status === "running" || rollout.status === "done") {
    shown.push(button("Stop and go back", rollout, stop(true)), button("Stop", rollout, stop(false)));
    if (further) shown.push(button(`Widen to ${further} %`, rollout, widen(further)));
  } else if (rollout.status === "stopped") {
    if (!isFollowed(rollout)) shown.push(button("Resume", rollout, resume));
    if (!rollout.back && runs) shown.push(button("Go back", rollout, stop(true)));
    if (rollout.stopped_by === "server" && !isFollowed(rollout)) shown.push(button("Leave it stopped", rollout, leave));
  }
  return shown;
}

function stageText(rollout) {
  const stages = rollout.stages.includes(rollout.percent) ? rollout.stages : [...rollout.stages, rollout.percent].sort((a, b) => a - b);
  const text = `Stage ${stages.indexOf(rollout.percent) + 1} of ${stages.length}: ${rollout.percent} % of the devices`;
  if (rollout.status !== "running") return text;
  if (rollout.held) return `${text}, held`;
  if (rollout.settled_at === null) return `${text}, waiting for those that are online`;
  const left = rollout.settled_at + rollout.soak_seconds - now;
  return `${text}, ${left > 0 ? `${duration(left)} more` : "about to go on"}`;
}

function measure(title, text, value, { className = null, marks = [] } = {}) {
  const bar = make("progress", { max: 1, value, class: className, "aria-label": title });
  const ticks = marks.map((mark) => {
    const tick = make("span", { class: "tick", "aria-hidden": "true" });
    tick.style.left = `${mark}%`;
    return tick;
  });
  return make("div", { class: "measure" }, make("span", { class: "value", text: title }), make("div", { class: "track" }, bar, ...ticks), make("span", { text }));
}

function measures(rollout) {
  const runs = following(rollout);
  const marks = rollout.stages.filter((stage) => stage < 100);
  const shown = [measure(`${count(runs)} of ${plural(rollout.streams, "stream")} run it`, stageText(rollout), rollout.streams ? runs / rollout.streams : 0, { marks })];
  if (rollout.evidence) {
    const { new_alarms: alarms, new_frames: frames, old_alarms: before, old_frames: past, toward_stop: share } = rollout.evidence;
    const text = `With other bundles ${count(before)} in ${count(past)}. Evidence toward a stop: ${percent(share)}`;
    shown.push(measure(`${plural(alarms, "alarm")} in ${count(frames)} frames`, text, share, { className: "against" }));
  }
  return shown;
}

function makeCard(rollout) {
  const element = make("li", { class: "card rollout" });
  const parts = {
    status: make("span", { class: "chip" }),
    about: make("span", { class: "aside" }),
    reason: make("p", { class: "reason" }),
    warning: make("p", { class: "aside" }),
    measures: make("div", { class: "measures" }),
    counts: make("p", { class: "counts" }),
    buttons: make("p", { class: "buttons" }),
    members: make("ul", { class: "members", "aria-label": "Streams" }),
    history: make("ul", { class: "steps", "aria-label": "What has happened" }),
  };
  const details = make("details", { ontoggle: () => showDetails(card) }, make("summary", { text: "Streams and history" }), parts.members, make("h4", { text: "What has happened" }), parts.history);
  element.append(make("header", {}, make("h3", { text: rollout.bundle }), parts.status, parts.about), parts.reason, parts.warning, parts.measures, parts.counts, parts.buttons, details);
  const card = { element, parts, details, id: rollout.id, shown: "" };
  return card;
}

function updateCard(card, rollout) {
  const { parts } = card;
  card.element.classList.toggle("past", rollout.status !== "running" && rollout.id !== found[0].id);
  parts.status.className = `chip ${rollout.held ? "stale" : STATUS[rollout.status]}`;
  say(parts.status, rollout.held ? "held" : rollout.status);
  say(parts.about, `${rollout.stream ? `streams named ${rollout.stream}, ` : ""}${scope(rollout)}; started by ${rollout.created_by} ${ago(rollout.created_at, now)}`);
  const reason = [rollout.reason && `Stopped: ${rollout.reason}`, rollout.held && `Held: ${rollout.held}`].find(Boolean);
  parts.reason.hidden = !reason;
  say(parts.reason, reason ?? "");
  const warning = [
    rollout.problem && `Nobody else can get it: ${rollout.problem}.`,
    rollout.no_way_back.length && `Not on this server, so that devices may be unable to go back: ${rollout.no_way_back.join(", ")}.`,
  ].filter(Boolean);
  parts.warning.hidden = !warning.length;
  say(parts.warning, warning.join(" "));
  const shown = JSON.stringify([rollout, session.role, isFollowed(rollout), rollout.settled_at === null ? 0 : Math.round(now)]);
  if (card.shown !== shown) {
    card.shown = shown;
    const held = parts.buttons.contains(document.activeElement) ? document.activeElement.textContent : null;
    parts.measures.replaceChildren(...measures(rollout));
    parts.counts.replaceChildren(...Object.entries(rollout.progress).map(([progress, number]) => make("span", { class: `chip is-${progress}`, text: `${count(number)} ${WORDS[progress] ?? progress}` })));
    parts.buttons.replaceChildren(...buttons(rollout));
    [...parts.buttons.children].find((one) => one.textContent === held)?.focus();
  }
  if (card.details.open) showDetails(card);
}

async function showDetails(card) {
  if (!card.details.open) return;
  try {
    const detail = await get(`/api/rollouts/${encodeURIComponent(card.id)}`);
    card.parts.members.replaceChildren(...detail.members.map(memberLine));
    card.parts.history.replaceChildren(...detail.history.map(stepLine));
    const more = detail.streams - detail.members.length;
    if (more > 0) card.parts.members.append(make("li", { class: "aside", text: `and ${plural(more, "more stream")}; those in trouble are above` }));
  } catch (error) {
    trouble(error.message);
  }
}

function memberLine(member) {
  const facts = [member.bundle ?? "unknown", member.online ? "" : "not online", member.alarms ? plural(member.alarms, "alarm") : ""].filter(Boolean);
  return make(
    "li",
    {},
    make("span", { class: `chip is-${member.progress}`, text: WORDS[member.progress] ?? member.progress }),
    make("span", { class: "which" }, make("a", { class: "name", href: `/${deviceAddress(member.site, member.device, member.stream)}`, text: `${member.device} / ${member.stream}` }), make("span", { class: "aside", text: member.site })),
    make("span", { class: "aside", text: facts.join(", ") }),
    member.error ? make("span", { class: "problem", text: member.error }) : null,
  );
}

function stepLine(step) {
  return make("li", {}, make("span", { class: "aside", text: moment(step.at) }), make("span", { text: `${step.who}: ${step.action}${step.detail ? `, ${step.detail}` : ""}` }));
}

// --- bundles and the form ----------------------------------------------------------------------------

const size = (number) => (number < 1e6 ? `${Math.ceil(number / 1e3)} kB` : bytes(number));

function showBundles({ bundles, signatures }) {
  byId("no-bundles").hidden = bundles.length > 0;
  byId("no-signatures").hidden = signatures || !bundles.length;
  const line = (bundle) => {
    const aside = bundle.problem ? make("span", { class: "problem", text: bundle.problem }) : make("span", { class: "aside", text: bundle.signed_by ? `${size(bundle.bytes)}, signed by ${bundle.signed_by}` : size(bundle.bytes) });
    return make("li", {}, make("span", { class: "name", text: bundle.id }), aside);
  };
  byId("bundles").replaceChildren(...bundles.map(line));
  const usable = bundles.filter((bundle) => !bundle.problem).map((bundle) => bundle.id).reverse();
  const select = byId("start-bundle");
  if ([...select.options].map((option) => option.value).join() === usable.join()) return;
  const chosen = select.value;
  select.replaceChildren(...usable.map((id) => make("option", { value: id, text: id })));
  if (usable.includes(chosen)) select.value = chosen;
}

async function start(event) {
  event.preventDefault();
  const stages = byId("start-stages").value.split(",").map((text) => Number(text.trim()));
  const text = (id) => byId(id).value.trim() || null;
  const body = {
    bundle: byId("start-bundle").value,
    site: text("start-site"),
    device: text("start-device"),
    stream: text("start-stream"),
    stages,
    soak_seconds: 60 * Number(byId("start-soak").value),
  };
  if (!(await sure(`Roll ${body.bundle} out?`, `To ${stages[0]} % of ${scope(body)} at first.`, "Start"))) return;
  await act("/api/rollouts", body);
}

async function upload(event) {
  event.preventDefault();
  const [file] = byId("upload-file").files;
  say(byId("upload-told"), "uploading");
  try {
    const bundle = await post("/api/bundles", file);
    say(byId("upload-told"), `${bundle.id} is here`);
    byId("upload").reset();
    trouble("");
  } catch (error) {
    say(byId("upload-told"), "");
    trouble(error.message);
  }
  await load();
}

// --- the connection ----------------------------------------------------------------------------------

function showRollouts() {
  const shown = showsAll ? found : found.filter((rollout, index) => index < FIRST_SHOWN || rollout.status === "running");
  const more = found.length - shown.length;
  byId("no-rollouts").hidden = found.length > 0;
  keyed(byId("rollouts"), shown, (rollout) => rollout.id, makeCard, updateCard);
  byId("rollouts-more").hidden = more === 0;
  say(byId("rollouts-more"), `Show ${count(more)} earlier`);
}

async function load() {
  let live = true;
  try {
    const [answer, bundles] = await Promise.all([get("/api/rollouts"), get("/api/bundles")]);
    now = answer.now;
    found = answer.rollouts;
    showRollouts();
    showBundles(bundles);
  } catch {
    live = false;
  }
  byId("link").dataset.state = live ? "live" : "broken";
  say(byId("link-text"), live ? "live" : "reconnecting");
  document.body.classList.toggle("detached", !live && now > 0);
}

async function begin() {
  try {
    await startSession();
  } catch {
    setTimeout(begin, PACE_MS);
    return;
  }
  onLogOut();
  for (const id of ["start-do", "upload-do"]) byId(id).disabled = !session.mayAct;
  byId("start-reason").hidden = session.mayAct;
  say(byId("start-reason"), session.reason);
  byId("start").addEventListener("submit", start);
  byId("upload").addEventListener("submit", upload);
  byId("rollouts-more").addEventListener("click", () => {
    showsAll = true;
    showRollouts();
  });
  for (;;) {
    await load();
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
  }
}

begin();
