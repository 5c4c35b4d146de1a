// What was typed, pasted or dropped, as passages.

/** A page is no place for more: a text area becomes slow. */
const MOST_BYTES = 4 << 20;

/**
 * @param {string} text
 * @param {"line" | "paragraph" | "all"} unit what ends a passage: a line's end, an empty line, or nothing
 * @returns {string[]} none of them empty
 */
export function split(text, unit) {
  // The last one is nowhere.
  const border = { line: "\n", paragraph: /\n[^\S\n]*\n/, all: /(?!)/ }[unit];
  return text
    .replaceAll(/\r\n?/g, "\n")
    .split(border)
    .map((passage) => passage.trim())
    .filter((passage) => passage !== "");
}

/** What a passage most likely is: a paragraph where empty lines part the text, else a line. */
export function guessUnit(text) {
  return split(text, "paragraph").length > 1 ? "paragraph" : "line";
}

/**
 * A file's text.
 * @param {File} file
 * @throws {Error} which names the file, where it is too long or no text
 */
export async function readText(file) {
  if (file.size > MOST_BYTES) {
    throw new Error(`${file.name}: expected at most ${MOST_BYTES >> 20} MB, found ${(file.size / 1e6).toFixed(1)} MB`);
  }
  const bytes = await file.arrayBuffer();
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch {
    // Said below.
  }
  throw new Error(`${file.name}: expected a text in UTF-8, found something else`);
}
