// The model's bytes on their way into the module's memory: checked, and held nowhere else for longer than a block.

import { CrossrankError } from "./errors.js";
import { BLOCK } from "./manifest.js";

/**
 * Writes one file into the loader, block by block, each after its hash was checked. A file whose manifest has no hashes
 * of blocks is checked as a whole, which costs a copy of it for that time.
 *
 * @param {import("./manifest.js").ModelFile} file
 * @param {{reserve(name: string, bytes: number): void, write(name: string, chunk: Uint8Array): void}} loader
 * @param {Source} source
 * @param {{verify: boolean, report(bytes: number): void}} options `report` hears how many bytes of it are in place
 * @throws {CrossrankError} when it is missing, too short, too long, or has another hash: at once where it cannot be
 *   fetched anew, else at the second time
 *
 * @typedef {object} Source where files come from
 * @property {(file: import("./manifest.js").ModelFile, anew: boolean) => Promise<AsyncIterable<Uint8Array>>} open
 * @property {(file: import("./manifest.js").ModelFile) => Promise<boolean>} forget drops a copy that was kept; false
 *   where opening it anew would give the same bytes
 */
export async function fill(file, loader, source, { verify, report }) {
  loader.reserve(file.name, file.bytes);
  let written = 0;
  const attempt = async (anew) => {
    const whole = verify && !file.blocks;
    const take = async (block, position) => {
      if (verify) await check(file, block, position, whole);
      // What an earlier attempt wrote has been found right.
      if (position < written) return;
      for (let at = 0; at < block.length; at += BLOCK) loader.write(file.name, block.subarray(at, at + BLOCK));
      written = position + block.length;
      report(written);
    };
    // One block is checked while the next one arrives.
    let position = 0;
    let taken = Promise.resolve();
    for await (const block of blocks(await source.open(file, anew), file, whole ? file.bytes : BLOCK)) {
      await taken;
      taken = take(block, position);
      // It is awaited above or below; until then nobody needs to hear that it failed.
      taken.catch(() => {});
      position += block.length;
    }
    await taken;
  };
  try {
    await attempt(false);
  } catch (error) {
    if (!(error instanceof DamageError) || !(await source.forget(file))) throw error;
    try {
      await attempt(true);
    } catch (second) {
      if (second instanceof DamageError) await source.forget(file);
      throw second;
    }
  }
}

/** Bytes that are not those of the manifest. */
class DamageError extends CrossrankError {
  constructor(file, expected, found) {
    super("model", `${file.name} (${file.url}): expected ${expected}, found ${found}`);
  }
}

/**
 * A stream cut into blocks of one size, the last of which may be shorter; together exactly as long as the file. A block
 * holds until the one after the next begins.
 */
async function* blocks(chunks, file, size) {
  let block = new Uint8Array(Math.min(size, file.bytes));
  let other = file.bytes > size ? new Uint8Array(size) : block;
  let [filled, left] = [0, file.bytes];
  for await (const chunk of chunks) {
    if (chunk.length > left) throw new DamageError(file, `${file.bytes} bytes`, "more");
    left -= chunk.length;
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(block.length - filled, chunk.length - at);
      block.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled === block.length) {
        yield block;
        filled = 0;
        [block, other] = [other, block];
        const rest = left + chunk.length - at;
        if (rest < block.length) block = block.subarray(0, rest);
      }
    }
  }
  if (left > 0) throw new DamageError(file, `${file.bytes} bytes`, `${file.bytes - left}`);
}

async function check(file, block, position, whole) {
  const expected = whole ? file.sha256 : file.blocks[position / BLOCK];
  const found = await sha256(block);
  if (found === expected) return;
  const where = whole ? "" : ` in bytes ${position} to ${position + block.length}`;
  throw new DamageError(file, `sha256 ${expected}${where}`, found);
}

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new CrossrankError(
      "unsupported",
      "hashes cannot be checked here, as crypto.subtle is missing (a page must be served by https or from localhost); " +
        "`verify: false` loads the model unchecked",
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
