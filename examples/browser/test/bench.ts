/**
 * How fast files of version 2 are decoded: `npm run bench -- MODEL.safetensors FILE.nac ...`. Times are
 * those of the processor, the least of three rounds; that of the audio is told once, however many channels.
 */

import { readFileSync } from "node:fs";
import { Cascade } from "../src/cascade";
import { read, write } from "../src/nac";

const bytes = (name: string) => new Uint8Array(readFileSync(name));

/** Seconds of the processor. */
function seconds(work: () => unknown): number {
  const rounds = Array.from({ length: 3 }, () => {
    const before = process.cpuUsage();
    work();
    return process.cpuUsage(before).user / 1e6;
  });
  return Math.min(...rounds);
}

const [file, ...names] = process.argv.slice(2);
const weights = bytes(file);
const model = new Cascade(weights);
console.log(`${file}: ${seconds(() => new Cascade(weights)).toFixed(2)} s to load`);
for (const name of names) {
  const codes = read(bytes(name), model);
  const lasting = codes.length / codes.info.source_rate;
  const decode = (lasting / seconds(() => read(bytes(name), model))).toFixed(1);
  const encode = (lasting / seconds(() => write(codes, model))).toFixed(1);
  const { streams, codebooks } = codes.info;
  console.log(
    `${name}: ${lasting.toFixed(1)} s, ${streams} x ${codebooks} codebooks: ` +
      `${decode} times real time to decode, ${encode} to encode`,
  );
}
