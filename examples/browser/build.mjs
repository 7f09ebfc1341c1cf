/** Makes the page: `node build.mjs MODEL PAGE`, of the folder that `acomp export` wrote. */

import { createHash } from "node:crypto";
import { copyFileSync, cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const acomp = join(here, "../../acomp");
const [model, page] = process.argv.slice(2);
const require = createRequire(import.meta.url);
/** Is fetched, and then kept, when the first file comes that needs it. */
const LANGUAGE_MODEL = "model/language-model.safetensors";
const WASM = "ort-wasm-simd-threaded.wasm";

rmSync(page, { recursive: true, force: true });
cpSync(join(here, "static"), page, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["src/main.ts", "src/worker.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  outdir: page,
  logLevel: "warning",
});
copyFileSync(require.resolve(`onnxruntime-web/${WASM}`), join(page, WASM));
mkdirSync(join(page, "samples"));
for (const name of ["speech.flac", "music.flac"]) {
  copyFileSync(join(acomp, "samples", name), join(page, "samples", name));
}
cpSync(model, join(page, "model"), { recursive: true });
rmSync(join(page, "model/README.md"), { force: true });
copyFileSync(join(acomp, "backends/nano/nano_2_lm.safetensors"), join(page, LANGUAGE_MODEL));

// What is kept for work without a network, and a name for this version of all of it.
const files = readdirSync(page, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name !== "sw.js")
  .map((entry) => join(entry.parentPath, entry.name).slice(join(page, "/").length))
  .filter((file) => file !== LANGUAGE_MODEL)
  .sort();
const hash = createHash("sha256");
for (const file of files) hash.update(file).update(readFileSync(join(page, file)));
const worker = readFileSync(join(page, "sw.js"), "utf8");
const known = { VERSION: hash.digest("hex").slice(0, 16), FILES: ["./", ...files] };
const constants = Object.entries(known).map(([name, value]) => `const ${name} = ${JSON.stringify(value)};\n`);
writeFileSync(join(page, "sw.js"), constants.join("") + worker);
