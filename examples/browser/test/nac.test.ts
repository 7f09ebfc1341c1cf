import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Cascade } from "../src/cascade";
import { NacError, NacReader, read, write, type NacFrames } from "../src/nac";

const folder = "../../tests/golden";
const bytes = (name: string) => new Uint8Array(readFileSync(`${folder}/${name}`));
const names = readdirSync(folder).filter((name) => name.endsWith(".nac"));
const model = new Cascade(bytes("language_model.safetensors"));

/** Codes as `[stream][codebook][frame]`. */
function grid(blocks: NacFrames[], streams: number, codebooks: number): number[][][] {
  const rows = Array.from({ length: streams }, () =>
    Array.from({ length: codebooks }, () => [] as number[]),
  );
  for (const { codes } of blocks) {
    codes.forEach((code, n) => {
      rows[Math.floor(n / codebooks) % streams][n % codebooks].push(code);
    });
  }
  return rows;
}

for (const name of names) {
  test(`${name} holds what stands beside it`, () => {
    const expected = JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8"));
    for (const step of [1, 1000000]) {
      const [reader, data, blocks] = [new NacReader(model), bytes(name), [] as NacFrames[]];
      for (let at = 0; at < data.length; at += step) {
        blocks.push(...reader.push(data.subarray(at, at + step)));
      }
      blocks.push(...reader.end());
      const info = reader.info!;
      for (const [key, value] of Object.entries(expected.info)) {
        assert.deepEqual(info[key as keyof typeof info], value);
      }
      assert.equal(reader.length, expected.length);
      assert.deepEqual(grid(blocks, info.streams, info.codebooks), expected.codes);
      const parts = blocks.flatMap((block) => block.segments);
      const found = [parts.map((part) => part.frames), parts.map((part) => part.scale)];
      assert.deepEqual(found, expected.segments ?? [[], []]);
    }
  });
}

const damaged: Record<string, string> = JSON.parse(readFileSync(`${folder}/damaged.json`, "utf8"));
for (const name of Object.keys(damaged)) {
  test(`${name} is refused`, () => {
    assert.throws(() => read(bytes(`damaged/${name}`), model), NacError);
  });
}

for (const name of names.filter((name) => bytes(name)[3] > 0)) {
  test(`${name} is written as it was read`, () => {
    const file = read(bytes(name), model);
    const blocks = [...file.blocks];
    // The end of a live stream is a block of no frames, which reading passes over.
    if (name.endsWith("live.nac")) {
      const first = blocks.reduce((sum, block) => sum + block.frames, 0);
      blocks.push({ first, frames: 0, codes: new Uint16Array(0), segments: [] });
    }
    const again = write({ ...file, blocks }, bytes(name)[3] === 2 ? model : null);
    assert.deepEqual(again, bytes(name));
  });
}
