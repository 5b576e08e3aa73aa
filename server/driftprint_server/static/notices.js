// What went wrong with what the user asked for.

import { byId, say } from "./dom.js";

export function trouble(text) {
  say(byId("trouble"), text);
  byId("trouble").hidden = !text;
}
