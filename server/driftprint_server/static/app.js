// The page: one view at a time, by the address, kept up to date by the server's events.

import { startActing } from "./act.js";
import { refreshAges } from "./ages.js";
import { auditView } from "./audit.js";
import { bundlesView } from "./bundles.js";
import { deviceView } from "./device.js";
import { byId } from "./dom.js";
import { fleetView, startFleet } from "./fleet.js";
import { connect } from "./live.js";
import { trouble } from "./notices.js";
import { route } from "./router.js";
import { onLogOut, startSession } from "./session.js";

const VIEWS = { fleet: fleetView, device: deviceView, bundles: bundlesView, audit: auditView };

let shown = null;
let alarms = 0;

const currentView = () => VIEWS[route().view] ?? fleetView;

function showTitle() {
  document.title = `${alarms ? `(${alarms}) ` : ""}${shown === fleetView ? "" : `${shown.title} – `}driftprint`;
}

function navigate() {
  if (location.hash === "#main") return; // the skip link
  const view = currentView();
  const another = shown !== view;
  shown?.hide();
  trouble("");
  for (const each of Object.values(VIEWS)) byId(each.id).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    if (VIEWS[link.dataset.view] === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const first = shown === null;
  shown = view;
  view.show(route());
  showTitle();
  if (another && !first) {
    byId("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function start() {
  startFleet();
  startActing();
  onLogOut();
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is the view's
    byId("main").focus();
  });
  await startSession().catch(() => {});
  addEventListener("hashchange", navigate);
  navigate();
  connect((summary) => {
    alarms = summary.figures.alarms;
    showTitle();
    fleetView.update(summary);
    if (shown !== fleetView) shown.update(summary);
  });
  setInterval(() => {
    refreshAges();
    shown.tick();
  }, 1000);
}

start();
