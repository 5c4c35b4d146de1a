// Puts together what ships, out of what build.sh made: `dist/npm/crossrank`, `dist/npm/crossrank-model` and the page,
// `dist/site`. Same input, same bytes.
//
//     node assemble.mjs [--quick]      # quick: modules packed by zlib in place of zopfli, which are a fourteenth larger

import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import zopfli from "@gfx/zopfli";

import { BLOCK } from "./package/src/manifest.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = join(HERE, "../..");
const DIST = join(HERE, "dist");
const MODULES = ["simd", "relaxed", "simd-threads", "relaxed-threads"];
const LICENCES = ["LICENSE-MIT", "LICENSE-APACHE"];

async function main() {
  if (!MODULES.some((name) => existsSync(join(DIST, `${name}.js`)))) {
    throw new Error("dist/ has no module: run build.sh first");
  }
  checkVersions();
  await packModules();
  const files = modelFiles();
  replace("npm/crossrank", (folder) => assemblePackage(folder));
  replace("npm/crossrank-model", (folder) => assembleModel(folder, files));
  replace("site", (folder) => assembleSite(folder, files));
  linkPackages();
}

/** A folder is made beside the old one, and takes its place when it is whole. */
function replace(name, make) {
  const [folder, temporary] = [join(DIST, name), join(DIST, `${name}.new`)];
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  make(temporary);
  rmSync(folder, { recursive: true, force: true });
  renameSync(temporary, folder);
}

/** The packages have the version of the crates. */
function checkVersions() {
  const cargo = /^version = "(.*)"$/m.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8"))?.[1];
  for (const name of ["package", "model-package"]) {
    const { version, peerDependencies } = JSON.parse(readFileSync(join(HERE, name, "package.json"), "utf8"));
    const model = peerDependencies?.["crossrank-model"] ?? cargo;
    if (version !== cargo || model !== cargo) {
      throw new Error(`${name}/package.json: expected version ${cargo} as in Cargo.toml, found ${version}, ${model}`);
    }
  }
}

/** The files of the model as manifests list them, with hashes of their blocks. */
function modelFiles() {
  const { files } = JSON.parse(readFileSync(join(DIST, "model/manifest.json"), "utf8"));
  return files.map(({ name, bytes, sha256 }) => {
    const data = readFileSync(join(DIST, "model", name));
    if (data.length !== bytes || hash(data) !== sha256)
      throw new Error(`dist/model/${name} is not what its manifest says`);
    const blocks = Array.from({ length: Math.ceil(bytes / BLOCK) }, (_, i) =>
      hash(data.subarray(i * BLOCK, (i + 1) * BLOCK)),
    );
    return { name, bytes, sha256, blocks };
  });
}

function hash(data) {
  return createHash("sha256").update(data).digest("hex");
}

function assemblePackage(folder) {
  copy(join(HERE, "package"), folder);
  assembleEngine(join(folder, "engine"));
  copyLicences(folder);
}

/** The modules that were built: all of them, but in a build for a test. */
function modules() {
  return MODULES.filter((name) => existsSync(join(DIST, `${name}.js`)));
}

/** Packs the modules, unless they are those of last time. */
async function packModules() {
  for (const name of modules()) {
    const bytes = readFileSync(join(DIST, `${name}_bg.wasm`));
    const isQuick = process.argv.includes("--quick");
    const stamp = `${hash(bytes)} ${isQuick ? "zlib" : "zopfli"}\n`;
    const [packed, stamped] = [packedPath(name), `${packedPath(name)}.of`];
    if (existsSync(stamped) && readFileSync(stamped, "utf8") === stamp) continue;
    mkdirSync(dirname(packed), { recursive: true });
    rmSync(stamped, { force: true });
    writeFileSync(
      packed,
      isQuick ? gzipSync(bytes, { level: 9 }) : await zopfli.gzipAsync(bytes, { numiterations: 1 }),
    );
    writeFileSync(stamped, stamp);
  }
}

function packedPath(name) {
  return join(DIST, "packed", `${name}_bg.wasm.gz`);
}

function assembleEngine(folder) {
  mkdirSync(folder);
  for (const name of modules()) {
    cpSync(join(DIST, `${name}.js`), join(folder, `${name}.js`));
    cpSync(packedPath(name), join(folder, `${name}_bg.wasm.gz`));
  }
}

function assembleModel(folder, files) {
  copy(join(HERE, "model-package"), folder);
  copyModel(join(folder, "model"), files);
  const entries = files.map((file) => {
    const [plain] = [JSON.stringify(file, null, 2).replaceAll("\n", "\n    ")];
    return `    ${plain.replace(/\n {4}}$/, "")},\n      "url": new URL("./model/${file.name}", import.meta.url)\n    }`;
  });
  const script = `// Written by assemble.mjs.\nexport default {\n  files: [\n${entries.join(",\n")}\n  ]\n};\n`;
  writeFileSync(join(folder, "index.js"), script);
  copyLicences(folder);
}

function copyModel(folder, files) {
  mkdirSync(folder);
  for (const { name } of files) cpSync(join(DIST, "model", name), join(folder, name));
  writeFileSync(join(folder, "manifest.json"), `${JSON.stringify({ files }, null, 1)}\n`);
}

/** Both licences of the code, the model's, and the card that names what it was trained on. */
function copyLicences(folder) {
  for (const name of LICENCES) cpSync(join(ROOT, name), join(folder, name));
  cpSync(join(HERE, "model-package/LICENSE-MODEL"), join(folder, "LICENSE-MODEL"));
  cpSync(join(HERE, "model-package/README.md"), join(folder, "MODEL_CARD.md"));
}

function assembleSite(folder, files) {
  copy(join(HERE, "page"), folder);
  copy(join(HERE, "package/src"), join(folder, "crossrank/src"), (path) => !/(node|ai|langchain)\.js$/.test(path));
  assembleEngine(join(folder, "crossrank/engine"));
  copyModel(join(folder, "model"), files);
  copyLicences(folder);
  preload(folder);
  // The shell is what a visit without network begins with. Modules are kept when they are used, the model by its hashes.
  const shell = list(folder).filter(
    (path) => !/^(sw\.js$|crossrank\/engine\/|LICENSE|MODEL_CARD)/.test(path) && !/^model\/(?!manifest)/.test(path),
  );
  // By this name, as some hosts answer index.html with a redirection.
  shell[shell.indexOf("index.html")] = "./";
  const version = hash(
    list(folder)
      .map((path) => `${path} ${hash(readFileSync(join(folder, path)))}\n`)
      .join(""),
  );
  const script = readFileSync(join(folder, "sw.js"), "utf8");
  const filled = script
    .replace('"SHELL"', `[\n${shell.map((path) => `  ${JSON.stringify(path)},\n`).join("")}]`)
    .replace('"VERSION"', JSON.stringify(version.slice(0, 16)));
  if (filled.includes('"SHELL"') || filled.includes('"VERSION"')) throw new Error("page/sw.js has lost its places");
  writeFileSync(join(folder, "sw.js"), filled);
}

/** The page names all of its modules at once: else each is fetched when one that imports it was read. */
function preload(folder) {
  const found = new Set(["app/main.js"]);
  for (const path of found) {
    const script = readFileSync(join(folder, path), "utf8");
    for (const [, name] of script.matchAll(/^(?:import|export) [^"]*from "(\.[^"]+)";$/gm)) {
      found.add(join(dirname(path), name));
    }
  }
  const page = join(folder, "index.html");
  const place = "    <!-- assemble.mjs: modulepreload -->\n";
  const links = Array.from(found, (path) => `    <link rel="modulepreload" href="${path}">\n`).join("");
  const html = readFileSync(page, "utf8");
  if (!html.includes(place)) throw new Error("page/index.html has lost the place of its modules");
  writeFileSync(page, html.replace(place, links));
}

function copy(from, to, filter = () => true) {
  cpSync(from, to, { recursive: true, filter });
}

/** All files of a folder, in order. */
function list(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)));
  return paths.sort();
}

/** Tests import the packages by their names. */
function linkPackages() {
  mkdirSync(join(HERE, "node_modules"), { recursive: true });
  for (const name of ["crossrank", "crossrank-model"]) {
    const link = join(HERE, "node_modules", name);
    rmSync(link, { recursive: true, force: true });
    symlinkSync(join("../dist/npm", name), link);
  }
}

await main();
