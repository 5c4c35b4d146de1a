// The little that is needed to build a page out of texts. Nothing is ever parsed as HTML.

/**
 * An element with properties and children; a string is a text.
 * @param {string} name
 * @param {Record<string, unknown>} [properties] `class`, `text`, `on…` and attributes
 * @param {(Node | string)[]} [children]
 */
export function element(name, properties = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/** The element of the page that has this id. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** Text that is there for screen readers alone. */
export function spoken(text) {
  return element("span", { class: "visually-hidden", text });
}

/** `1 passage`, `2 passages`. */
export function counted(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Milliseconds in as many digits as mean something. */
export function milliseconds(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value >= 100 ? Math.round(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}
