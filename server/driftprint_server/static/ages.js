// How long ago something was, told anew with every tick. The moment itself is the title.

import { make, say } from "./dom.js";
import { serverNow } from "./live.js";
import { ago, moment } from "./words.js";

const tell = (element) => say(element, ago(element.dataset.at ? Number(element.dataset.at) : null, serverNow()));

// An age that `show(at)` gives its moment, in Unix seconds; null where it has never been.
export function makeAge() {
  const element = make("time");
  const show = (at) => {
    if (at === null || at === undefined) {
      delete element.dataset.at;
      element.removeAttribute("title");
    } else if (element.dataset.at !== String(at)) {
      element.dataset.at = String(at);
      element.title = moment(at);
      element.dateTime = new Date(1000 * at).toISOString();
    }
    tell(element);
  };
  return { element, show };
}

export function age(at) {
  const { element, show } = makeAge();
  show(at);
  return element;
}

export function refreshAges() {
  for (const element of document.querySelectorAll("time[data-at]")) tell(element);
}
