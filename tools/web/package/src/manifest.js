// A model is a few files, listed in `manifest.json` beside them with their lengths and hashes.

import { CrossrankError } from "./errors.js";

/** Bytes of the blocks by which a file may be hashed, besides as a whole: each is checked as soon as it is there. */
export const BLOCK = 1 << 20;

/** No model for a browser is longer: a manifest that says so is wrong or hostile. */
const MOST_BYTES = 2 ** 32;

/**
 * @typedef {object} ModelFile
 * @property {string} name its name; those of modules are in a folder, as in `1_Pooling/config.json`
 * @property {number} bytes its length
 * @property {string} sha256 its hash, 64 hexadecimal digits
 * @property {string[]} [blocks] the hashes of its blocks of {@link BLOCK} bytes, the last of which may be shorter
 * @property {string} url where it is
 */

/**
 * Checks what a manifest says.
 * @param {unknown} manifest JSON as it was read, or the export of a model package
 * @param {string} from where it is from: errors name it
 * @param {string} [base] the URL that its files lie beside; without it each file has a `url` of its own
 * @returns {ModelFile[]}
 */
export function modelFiles(manifest, from, base) {
  const files = manifest?.files;
  if (!Array.isArray(files) || files.length === 0) throw wrong(from, "files", "a list of files", files);
  const names = new Set();
  return files.map((file, index) => {
    const at = `files[${index}]`;
    const { name, bytes, sha256, blocks } = file ?? {};
    if (typeof name !== "string" || !/^(\w[\w-]*\/)?\w[\w.-]*$/.test(name)) {
      throw wrong(from, `${at}.name`, "a file's name, with a folder at most", name);
    }
    if (names.has(name)) throw wrong(from, `${at}.name`, "each file once", name);
    names.add(name);
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > MOST_BYTES) {
      throw wrong(from, `${at}.bytes`, `a whole number from 0 to ${MOST_BYTES}`, bytes);
    }
    if (!isHash(sha256)) throw wrong(from, `${at}.sha256`, "64 hexadecimal digits", sha256);
    if (blocks !== undefined && !areHashes(blocks, Math.ceil(bytes / BLOCK))) {
      throw wrong(from, `${at}.blocks`, `a hash for each of ${Math.ceil(bytes / BLOCK)} blocks`, blocks);
    }
    const url = base === undefined ? fileUrl(file.url, from, `${at}.url`) : new URL(name, base).href;
    return { name, bytes, sha256, blocks, url };
  });
}

function fileUrl(url, from, at) {
  if (typeof url !== "string" && !(url instanceof URL)) throw wrong(from, at, "a URL", url);
  return String(url);
}

function isHash(value) {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function areHashes(values, count) {
  return Array.isArray(values) && values.length === count && values.every(isHash);
}

function wrong(from, field, expected, found) {
  const shown = found === undefined ? "nothing" : (JSON.stringify(found) ?? String(found)).slice(0, 80);
  return new CrossrankError("model", `${from}: \`${field}\`: expected ${expected}, found ${shown}`);
}
