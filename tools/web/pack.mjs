// Packs a model for the web: node pack.mjs DIST MODULE MODEL_DIR OUT_DIR. The module packs it itself, so that nothing native has
// to be built; the panels are the same on every instruction set.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [dist, name, from, to] = process.argv.slice(2);
const { initSync, Engine } = await import(pathToFileURL(join(dist, `${name}.js`)));
initSync({ module: readFileSync(join(dist, `${name}_bg.wasm`)) });

const names = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];
const files = new Map(names.map((name) => [name, readFileSync(join(from, name))]));
const loader = Engine.begin();
for (const [name, bytes] of files) {
  loader.reserve(name, bytes.length);
  loader.write(name, bytes);
}
files.set('model.safetensors', loader.finish('{}').pack());

mkdirSync(to, { recursive: true });
const manifest = { files: [] };
for (const [name, bytes] of files) {
  writeFileSync(join(to, name), bytes);
  manifest.files.push({ name, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
}
writeFileSync(join(to, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
