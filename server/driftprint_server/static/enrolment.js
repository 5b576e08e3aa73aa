// Devices that wait to be let in, where the server asks an operator about new ones.

import { operatorButton } from "./act.js";
import { makeAge } from "./ages.js";
import { get, put } from "./api.js";
import { byId, keyed, make, say } from "./dom.js";
import { paced } from "./live.js";
import { trouble } from "./notices.js";
import { session } from "./session.js";
import { plural } from "./words.js";

const PACE_MS = 5_000;
const MOST = 50;

const decide = (item, approved) => async () => {
  try {
    await put(`/api/enrolment/${encodeURIComponent(item.site)}/${encodeURIComponent(item.device)}`, { approved });
    trouble("");
    await learn();
  } catch (error) {
    trouble(error.message);
  }
};

function makeLine(item) {
  const heard = makeAge();
  const messages = make("span");
  const name = `${item.device}, ${item.site}`;
  const element = make(
    "li",
    {},
    make("span", { class: "told" }, make("span", { class: "name", text: item.device }), make("span", { class: "origin", text: item.site }), make("span", { class: "aside" }, "first heard of ", heard.element, ", ", messages)),
    make(
      "span",
      { class: "buttons" },
      operatorButton("Approve", decide(item, true), { class: "primary", "aria-label": `Approve ${name}` }),
      operatorButton("Reject", decide(item, false), { "aria-label": `Reject ${name}` }),
    ),
  );
  return { element, heard, messages };
}

function showLine({ heard, messages }, item) {
  heard.show(item.first_seen);
  say(messages, plural(item.messages, "message"));
}

async function learn() {
  if (!session.enrolment) return;
  const found = await get("/api/enrolment").catch(() => null);
  if (found === null) return; // the next time, then
  const waiting = found.mode === "approve" ? found.waiting : [];
  byId("waiting").hidden = waiting.length === 0;
  say(byId("waiting-title"), waiting.length > MOST ? `${waiting.length} devices waiting to be let in, the first ${MOST}` : "Devices waiting to be let in");
  keyed(byId("waiting-list"), waiting.slice(0, MOST), (item) => JSON.stringify([item.site, item.device]), makeLine, showLine);
}

const learnPaced = paced(learn, PACE_MS);

// `number`: of devices that wait, by the server's latest word.
export function showWaiting(number) {
  if (number > 0 || !byId("waiting").hidden) learnPaced();
}
