// Who is logged in, what they may do, and which parts this server has.

import { get, remove, setCsrf, toLogin } from "./api.js";
import { byId, say } from "./dom.js";

const OPEN = { name: null, role: "operator", csrf: "", login: false };

export const session = {
  ...OPEN,
  history: false,
  rollouts: false,
  audit: false,
  enrolment: false,
  get mayAct() {
    return this.role === "operator";
  },
  get reason() {
    return `${this.name ?? "You"} may look, not act: this is for operators.`;
  },
};

// Asked at the start, and again whenever the connection is back: the server may be another one by then.
export async function startSession() {
  const { paths } = await get("/openapi.json"); // what is not there is not asked for
  Object.assign(session, "/api/session" in paths ? await get("/api/session") : OPEN);
  setCsrf(session.csrf);
  session.history = "/api/history/alerts" in paths;
  session.rollouts = "/api/rollouts" in paths;
  session.audit = "/api/audit" in paths;
  session.enrolment = "/api/enrolment" in paths;
  byId("nav-rollouts").hidden = !session.rollouts;
  byId("nav-audit").hidden = !session.audit;
  byId("who").hidden = !session.login;
  say(byId("who-name"), session.name ?? "");
  say(byId("who-role"), session.mayAct ? "" : "viewer");
}

export function onLogOut() {
  byId("log-out").addEventListener("click", async () => {
    await remove("/api/session").catch(() => {});
    toLogin();
  });
}
