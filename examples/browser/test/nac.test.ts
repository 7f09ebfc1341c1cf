import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Cascade } from "../src/cascade";
import { crc32, NacError, NacReader, read, write, type NacFrames } from "../src/nac";
import { plainProduct, Products } from "../src/products";
import { NacSeeker } from "../src/seek";

const folder = "../../tests/golden";
const bytes = (name: string) => new Uint8Array(readFileSync(`${folder}/${name}`));
const names = readdirSync(folder).filter((name) => name.endsWith(".nac"));
const whole = names.filter((name) => bytes(name)[3] > 0);
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

for (const name of whole) {
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

function opened(data: Uint8Array): Promise<NacSeeker> {
  return NacSeeker.open(data.length, async (begin, end) => data.subarray(begin, end), model);
}

async function from(seeker: NacSeeker, frame: number): Promise<NacFrames[]> {
  const found = [];
  for await (const block of seeker.blocks(frame)) found.push(block);
  return found;
}

for (const name of whole) {
  test(`${name} is read from any frame on`, async () => {
    const [seeker, file] = [await opened(bytes(name)), read(bytes(name), model)];
    assert.equal(seeker.length, file.length);
    for (const frame of [0, 1, 99, 100, 767, 768, seeker.frames - 1, seeker.frames]) {
      const expected = file.blocks.filter((block) => block.first + block.frames > frame);
      assert.deepEqual(await from(seeker, frame), expected);
    }
  });
}

for (const name of Object.keys(damaged)) {
  test(`${name} is refused where it is sought in`, async () => {
    const all = async () => from(await opened(bytes(`damaged/${name}`)), 0);
    await assert.rejects(all, NacError);
  });
}

test("only the bytes of a stretch are read", async () => {
  const data = bytes("coded-several-blocks.nac");
  let taken = 0;
  const readBytes = async (begin: number, end: number) => {
    taken += end - begin;
    return data.subarray(begin, end);
  };
  const seeker = await NacSeeker.open(data.length, readBytes, model);
  assert.deepEqual((await from(seeker, 790)).map((block) => block.first), [768]);
  assert(taken < data.length);
});

test("a file of version 2 is refused without its language model", () => {
  assert.throws(() => read(bytes("coded.nac")), NacError);
  const other = new Cascade(bytes("language_model.safetensors"));
  Object.assign(other, { fingerprint: "0".repeat(16) });
  assert.throws(() => read(bytes("coded.nac"), other), NacError);
});

test("coded codes that are damaged are refused, though the checksums of their block are right", () => {
  for (let seed = 1; seed < 200; seed++) {
    const data = bytes("coded.nac");
    const block = 13 + new DataView(data.buffer).getUint32(4);
    const coded = new DataView(data.buffer).getUint32(block + 9);
    const end = block + 13 + 4 + coded;
    data[block + 17 + (seed % coded)] ^= seed;
    new DataView(data.buffer).setUint32(end, crc32(data.subarray(block, end)));
    assert.throws(() => read(data, model), NacError);
  }
});

test("sums are the same by WebAssembly and without", () => {
  const products = Products.make()!;
  for (const [outputs, inputs, rows] of [[1, 5, 1], [3, 8, 2], [24, 96, 5], [7, 513, 9]]) {
    const limit = Math.floor((2 ** 24 - 1) / (127 * inputs));
    const weights = new Int8Array(outputs * inputs).map((_, n) => ((n * 7919) % 255) - 127);
    const whole = new Int32Array(rows * inputs).map((_, n) => ((n * 104729) % (2 * limit)) - limit);
    const sums = products.of(weights, inputs)(whole, rows);
    assert.deepEqual([...sums], [...plainProduct(weights, inputs)(whole, rows)]);
  }
});

test("a damaged language model is refused", () => {
  const data = bytes("language_model.safetensors");
  for (let at = 0; at < data.length; at += 7) {
    assert.throws(() => new Cascade(data.subarray(0, at)), NacError);
  }
});

test("a bit changed anywhere ends in a NacError", () => {
  for (const name of ["coded.nac", "frames-3.nac"]) {
    for (let at = 0; at < bytes(name).length; at++) {
      const data = bytes(name);
      data[at] ^= 1 << at % 8;
      assert.throws(() => read(data, model), NacError);
    }
  }
});
