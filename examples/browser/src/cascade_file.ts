/** The file of a language model of the family `cascade`: safetensors, checked before it is believed. */

import { sha256 } from "@noble/hashes/sha2";
import { NacError } from "./errors";
import { parseJson } from "./json";

interface Shape {
  codebooks: number;
  codebook_size: number;
  embedding: number;
  width: number;
  hidden: number;
  narrow: number;
  dilations: number[];
}

interface Tensor {
  type: "int8" | "float32";
  shape: number[];
  data: Uint8Array;
}

export type Tensors = Record<string, Tensor>;

const TYPES: Record<string, [Tensor["type"], number]> = { I8: ["int8", 1], F32: ["float32", 4] };
const MAX_INPUTS = 1032;
const MAX_BLOCKS = 32;
const MAX_DILATION = 1024;
const MAX_HEADER = 1 << 20;

/** What a file of the family holds; nothing but the tensors that its shape calls for. */
export function readModel(file: Uint8Array): { shape: Shape; tensors: Tensors } {
  const bytes = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const size = file.length < 8 ? Infinity : Number(bytes.getBigUint64(0, true));
  if (size > Math.min(MAX_HEADER, file.length - 8)) throw new NacError("not a safetensors file");
  const header = record(parseJson(file.subarray(8, 8 + size)));
  const shape = shapeOf(record(header.__metadata__).acomp);
  const tensors: Tensors = {};
  for (const [name, [type, sizes]] of Object.entries(layoutOf(shape))) {
    tensors[name] = tensorOf(record(header[name]), type, sizes, file.subarray(8 + size));
  }
  if (Object.keys(header).length !== Object.keys(tensors).length + 1) {
    throw new NacError("the language model has tensors that its shape does not call for");
  }
  return { shape, tensors };
}

function record(value: unknown): Record<string, unknown> {
  if (value === null || typeof value !== "object") throw new NacError("no language model");
  return value as Record<string, unknown>;
}

function shapeOf(text: unknown): Shape {
  const fields = record(parseJson(new Uint8Array(Array.from(String(text), (c) => c.charCodeAt(0)))));
  const names = ["codebooks", "codebook_size", "embedding", "width", "hidden", "narrow"];
  const dilations = Array.isArray(fields.dilations) ? fields.dilations : [null];
  const numbers: unknown[] = [...names.map((name) => fields[name]), ...dilations];
  const whole = numbers.every((n) => Number.isInteger(n) && Number(n) >= 1 && Number(n) <= 65536);
  const shape = fields as unknown as Shape;
  const inputs = [shape.embedding, 2 * shape.width, shape.hidden, shape.narrow];
  const deep = dilations.length > MAX_BLOCKS || Math.max(...dilations) > MAX_DILATION;
  if (fields.family !== "cascade" || !whole || deep || Math.max(...inputs) > MAX_INPUTS) {
    throw new NacError("not a language model of the family cascade");
  }
  return shape;
}

function layoutOf(shape: Shape): Record<string, [Tensor["type"], number[]]> {
  const { codebooks, codebook_size: size, embedding, width, hidden, narrow } = shape;
  const depth = shape.dilations.length;
  const matrices = {
    embedding: [codebooks, size, embedding],
    before: [codebooks, width, embedding],
    within: [codebooks, width, embedding],
    first: [depth, hidden, 2 * width],
    second: [depth, width, hidden],
    narrow: [codebooks, narrow, width],
    entries: [codebooks, size, narrow],
  };
  const vectors = {
    number: [codebooks, width],
    norm: [depth + 1, 2, width],
    first_bias: [depth, hidden],
    second_bias: [depth, width],
    narrow_bias: [codebooks, narrow],
    entries_bias: [codebooks, size],
  };
  const layout: Record<string, [Tensor["type"], number[]]> = {};
  for (const [name, sizes] of Object.entries(matrices)) {
    layout[name] = ["int8", sizes];
    layout[`${name}_scale`] = ["float32", [...sizes.slice(0, -1), 1]];
  }
  for (const [name, sizes] of Object.entries(vectors)) layout[name] = ["float32", sizes];
  return layout;
}

function tensorOf(
  entry: Record<string, unknown>,
  type: Tensor["type"],
  shape: number[],
  data: Uint8Array,
): Tensor {
  const [found, width] = TYPES[String(entry.dtype)] ?? [];
  const offsets = Array.isArray(entry.data_offsets) ? entry.data_offsets : [];
  const [begin, end] = offsets.map(Number);
  const size = shape.reduce((product, n) => product * n, width ?? NaN);
  const fits = begin >= 0 && end <= data.length && end - begin === size;
  if (found !== type || String(entry.shape) !== String(shape) || !fits) {
    throw new NacError("the language model does not have the shape that it states");
  }
  return { type, shape, data: data.subarray(begin, end) };
}

export function fingerprintOf(tensors: Tensors): string {
  const hash = sha256.create();
  for (const name of Object.keys(tensors).sort()) {
    const { type, shape, data } = tensors[name];
    const line = `["${name}", "${type}", [${shape.join(", ")}]]\n`;
    hash.update(new Uint8Array(Array.from(line, (c) => c.charCodeAt(0)))).update(data);
  }
  const digits = Array.from(hash.digest().subarray(0, 8), (n) => n.toString(16).padStart(2, "0"));
  return digits.join("");
}

export function wholes({ data }: Tensor): Int8Array {
  return new Int8Array(data);
}

export function floats({ data }: Tensor): Float64Array {
  const bytes = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const numbers = new Float64Array(data.length / 4).map((_, n) => bytes.getFloat32(4 * n, true));
  if (!numbers.every(Number.isFinite)) throw new NacError("the language model is not finite");
  return numbers;
}
