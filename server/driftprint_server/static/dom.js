// Elements made in one line. Whatever is put in is put in as text.

export const byId = (id) => document.getElementById(id);

// `attributes`: "class", "text", "on" + event for listeners, true for attributes without a value, null for none.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text is replaced only where it differs, so that screen readers and selections are left in peace.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Gives `parent` the children that `items` stand for, and keeps those that it has already.
export function keyed(parent, items, key, create, update) {
  const known = (parent.keyed ??= new Map());
  const present = new Set(items.map(key));
  for (const [name, child] of known) {
    if (present.has(name)) continue;
    child.element.remove();
    known.delete(name);
  }
  items.forEach((item, index) => {
    const name = key(item);
    if (!known.has(name)) known.set(name, create(item));
    const child = known.get(name);
    update(child, item);
    if (parent.children[index] !== child.element) parent.insertBefore(child.element, parent.children[index] ?? null);
  });
}
