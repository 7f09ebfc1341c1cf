/**
 * acomp's own language model of codes, after docs/entropy.md ("The arithmetic, exactly"). Every
 * number is an IEEE double and every sum is one of whole numbers, so it is the same everywhere.
 */

import { sha256 } from "@noble/hashes/sha2";
import type { LanguageModel, Prediction } from "./entropy";
import { NacError } from "./errors";
import { parseJson } from "./json";

const GRID = 4096;
const TOTAL = 2 ** 24;
const TINY = 1e-30;
const WEIGHT_LIMIT = 127;
const STEPS = 64;
const OCTAVES = 30;
const STEPS_OF_E = STEPS / Math.LN2;
const HALF_POWERS = new Float64Array(STEPS * OCTAVES + 1).map((_, step) =>
  step < STEPS * OCTAVES ? rint(2 ** (OCTAVES - step / STEPS)) : 0,
);

/** The nearest whole number, ties to even: a double of 2^52 has no bits behind the point. */
function rint(x: number): number {
  if (Math.abs(x) >= 2 ** 52) return x;
  return x < 0 ? x - 2 ** 52 + 2 ** 52 : x + 2 ** 52 - 2 ** 52;
}

function snap(x: number): number {
  return rint(x * GRID) / GRID;
}

/** Two sums below 2^24 fit into one double, side by side, which halves the multiplications. */
const SIDE = 2 ** 26;

/** A matrix of 8-bit numbers, `[outputs, inputs]`, with a scale for each row. */
class Linear {
  private readonly weights: Int8Array;
  private readonly padded: number;
  private readonly limit: number;

  constructor(
    weights: Int8Array,
    private readonly scales: Float64Array,
    private readonly biases: Float64Array | null,
    readonly inputs: number,
  ) {
    this.padded = 4 * Math.ceil(scales.length / 4);
    this.weights = new Int8Array(this.padded * inputs);
    this.weights.set(weights);
    this.limit = Math.floor((TOTAL - 1) / (WEIGHT_LIMIT * inputs));
  }

  get outputs(): number {
    return this.scales.length;
  }

  /** From rows of inputs to rows of outputs. */
  apply(x: Float64Array, rows: number, y: Float64Array): void {
    const { inputs, outputs, padded, scales, biases } = this;
    const pairs = Math.ceil(rows / 2);
    const whole = new Float64Array(pairs * inputs);
    const steps = new Float64Array(2 * pairs);
    for (let row = 0; row < rows; row++) {
      steps[row] = this.addWhole(x.subarray(row * inputs, (row + 1) * inputs), row, whole);
    }
    const sums = new Float64Array(pairs * padded);
    let pair = 0;
    for (; pair + 1 < pairs; pair += 2) multiplyTwo(this.weights, inputs, padded, whole, pair, sums);
    if (pair < pairs) multiplyOne(this.weights, inputs, padded, whole, pair, sums);
    for (let row = 0; row < rows; row++) {
      const [from, to] = [(row >> 1) * padded, row * outputs];
      for (let n = 0; n < outputs; n++) {
        const second = Math.floor(sums[from + n] / SIDE + 0.5);
        const sum = row % 2 ? second : sums[from + n] - second * SIDE;
        y[to + n] = sum * steps[row] * scales[n] + (biases ? biases[n] : 0);
      }
    }
  }

  /** Rounds a row to whole numbers, adds them at its side of its pair, and gives their scale. */
  private addWhole(x: Float64Array, row: number, whole: Float64Array): number {
    let greatest = TINY;
    for (let n = 0; n < x.length; n++) greatest = Math.max(greatest, Math.abs(x[n]));
    const step = greatest / this.limit;
    const [at, side] = [(row >> 1) * x.length, row % 2 ? SIDE : 1];
    for (let n = 0; n < x.length; n++) whole[at + n] += rint(x[n] / step) * side;
    return step;
  }
}

/** The sums of a pair of rows, four outputs at a time. */
function multiplyOne(
  weights: Int8Array,
  inputs: number,
  outputs: number,
  whole: Float64Array,
  pair: number,
  sums: Float64Array,
): void {
  const [from, to] = [pair * inputs, pair * outputs];
  for (let n = 0; n < outputs; n += 4) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let k = 0, at = n * inputs; k < inputs; k++, at++) {
      const x = whole[from + k];
      a += weights[at] * x;
      b += weights[at + inputs] * x;
      c += weights[at + 2 * inputs] * x;
      d += weights[at + 3 * inputs] * x;
    }
    sums[to + n] = a;
    sums[to + n + 1] = b;
    sums[to + n + 2] = c;
    sums[to + n + 3] = d;
  }
}

/** The sums of two pairs of rows, two outputs at a time. */
function multiplyTwo(
  weights: Int8Array,
  inputs: number,
  outputs: number,
  whole: Float64Array,
  pair: number,
  sums: Float64Array,
): void {
  const [from, to] = [pair * inputs, pair * outputs];
  for (let n = 0; n < outputs; n += 2) {
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let k = 0, at = n * inputs; k < inputs; k++, at++) {
      const x = whole[from + k];
      const y = whole[from + inputs + k];
      const v = weights[at];
      const w = weights[at + inputs];
      a += v * x;
      b += w * x;
      c += v * y;
      d += w * y;
    }
    sums[to + n] = a;
    sums[to + n + 1] = b;
    sums[to + outputs + n] = c;
    sums[to + outputs + n + 1] = d;
  }
}

/** Layer normalisation of numbers on the grid. */
class Norm {
  constructor(
    private readonly weights: Float64Array,
    private readonly biases: Float64Array,
  ) {}

  apply(x: Float64Array, rows: number, y: Float64Array): void {
    const { weights, biases } = this;
    const width = weights.length;
    for (let row = 0, at = 0; row < rows; row++, at += width) {
      let sum = 0;
      for (let n = 0; n < width; n++) sum += x[at + n];
      const mean = sum / width;
      let squares = 0;
      for (let n = 0; n < width; n++) {
        const centred = Math.min(512, Math.max(-512, snap(x[at + n] - mean)));
        squares += centred * centred;
        y[at + n] = centred;
      }
      const deviation = Math.sqrt(squares / width + 1e-5);
      for (let n = 0; n < width; n++) y[at + n] = (y[at + n] / deviation) * weights[n] + biases[n];
    }
  }
}

function relu(x: Float64Array): void {
  for (let n = 0; n < x.length; n++) x[n] = Math.max(x[n], 0);
}

/** Turns the logits of each row into the frequencies of its entries, in place. */
function toFrequencies(logits: Float64Array, size: number): void {
  const free = TOTAL - size;
  for (let at = 0; at < logits.length; at += size) {
    let most = -Infinity;
    for (let n = at; n < at + size; n++) most = Math.max(most, logits[n]);
    let sum = 0;
    for (let n = at; n < at + size; n++) {
      const step = rint(Math.min((most - logits[n]) * STEPS_OF_E, STEPS * OCTAVES));
      logits[n] = HALF_POWERS[step];
      sum += logits[n];
    }
    let likeliest = at;
    while (logits[likeliest] < HALF_POWERS[0]) likeliest++;
    const share = free / sum;
    let rest = free;
    for (let n = at; n < at + size; n++) {
      const count = Math.floor(logits[n] * share);
      rest -= count;
      logits[n] = count + 1;
    }
    logits[likeliest] += rest;
  }
}

interface Shape {
  codebooks: number;
  codebook_size: number;
  embedding: number;
  width: number;
  hidden: number;
  narrow: number;
  dilations: number[];
}

interface Block {
  dilation: number;
  norm: Norm;
  first: Linear;
  second: Linear;
}

/** A language model of the family `cascade`, from the bytes of its safetensors file. */
export class Cascade implements LanguageModel {
  readonly fingerprint: string;
  readonly codebooks: number;
  readonly codebookSize: number;
  readonly width: number;
  readonly blocks: Block[];
  readonly norm: Norm;
  readonly narrow: Linear[];
  readonly entries: Linear[];
  readonly before: Linear[];
  readonly within: Linear[];
  private readonly embedding: Int8Array;
  private readonly embeddingScale: Float64Array;
  private readonly numbers: Float64Array;

  constructor(file: Uint8Array) {
    const { shape, tensors } = readModel(file);
    this.codebooks = shape.codebooks;
    this.codebookSize = shape.codebook_size;
    this.width = shape.width;
    this.fingerprint = fingerprintOf(tensors);
    const norms = split(floats(tensors.norm), shape.dilations.length + 1).map((both) => {
      const [weights, biases] = split(both, 2);
      return new Norm(weights, biases);
    });
    const first = linears(tensors, "first");
    const second = linears(tensors, "second");
    this.blocks = shape.dilations.map((dilation, n) => ({
      dilation,
      norm: norms[n],
      first: first[n],
      second: second[n],
    }));
    this.norm = norms[norms.length - 1];
    this.narrow = linears(tensors, "narrow");
    this.entries = linears(tensors, "entries");
    this.before = linears(tensors, "before");
    this.within = linears(tensors, "within");
    this.embedding = wholes(tensors.embedding);
    this.embeddingScale = floats(tensors.embedding_scale);
    this.numbers = floats(tensors.number).map(snap);
  }

  begin(sequences: number, codebooks: number): Prediction {
    return new CascadePrediction(this, sequences, codebooks);
  }

  /** Where a frame of so many codebooks begins from. */
  number(codebooks: number): Float64Array {
    return this.numbers.subarray((codebooks - 1) * this.width, codebooks * this.width);
  }

  /** Adds what stands for a code of each row, `before` or `within` of its codebook, to its row. */
  addCodes(linear: Linear, codebook: number, codes: Uint16Array, x: Float64Array): void {
    const { inputs, outputs } = linear;
    const embedded = new Float64Array(codes.length * inputs);
    codes.forEach((code, row) => {
      const entry = codebook * this.codebookSize + code;
      const scale = this.embeddingScale[entry];
      for (let n = 0; n < inputs; n++) {
        embedded[row * inputs + n] = this.embedding[entry * inputs + n] * scale;
      }
    });
    const added = new Float64Array(codes.length * outputs);
    linear.apply(embedded, codes.length, added);
    for (let n = 0; n < added.length; n++) x[n] += snap(added[n]);
  }
}

class CascadePrediction implements Prediction {
  /** Codes of the last frame, or of the current one as far as they are known. */
  private readonly codes: Uint16Array[];
  /** Of each block its normalised inputs of the last frames, in turn. */
  private readonly seen: Float64Array[][];
  private readonly x: Float64Array;
  private readonly normed: Float64Array;
  private readonly logits: Float64Array;
  private frame = 0;
  private codebook = 0;

  constructor(
    private readonly model: Cascade,
    private readonly rows: number,
    codebooks: number,
  ) {
    this.codes = Array.from({ length: codebooks }, () => new Uint16Array(rows));
    this.seen = model.blocks.map(({ dilation }) =>
      Array.from({ length: dilation }, () => new Float64Array(rows * model.width)),
    );
    this.x = new Float64Array(rows * model.width);
    this.normed = new Float64Array(rows * model.width);
    this.logits = new Float64Array(rows * model.codebookSize);
  }

  nextFrame(): void {
    const { model, x, rows } = this;
    const start = model.number(this.codes.length);
    for (let row = 0; row < rows; row++) x.set(start, row * model.width);
    if (this.frame) {
      this.codes.forEach((codes, codebook) => {
        model.addCodes(model.before[codebook], codebook, codes, x);
      });
    }
    model.blocks.forEach((block, n) => this.applyBlock(block, this.seen[n]));
    this.frame++;
    this.codebook = 0;
  }

  private applyBlock(block: Block, seen: Float64Array[]): void {
    const { x, rows, normed } = this;
    const { width } = this.model;
    block.norm.apply(x, rows, normed);
    const past = seen[this.frame % block.dilation];
    const both = new Float64Array(2 * rows * width);
    for (let row = 0; row < rows; row++) {
      both.set(normed.subarray(row * width, (row + 1) * width), 2 * row * width);
      both.set(past.subarray(row * width, (row + 1) * width), (2 * row + 1) * width);
    }
    past.set(normed);
    const hidden = new Float64Array(rows * block.first.outputs);
    block.first.apply(both, rows, hidden);
    relu(hidden);
    block.second.apply(hidden, rows, normed);
    for (let n = 0; n < x.length; n++) x[n] = snap(x[n] + normed[n]);
  }

  frequencies(): Float64Array {
    const { model, x, rows, normed, logits, codebook } = this;
    const narrow = new Float64Array(rows * model.narrow[codebook].outputs);
    model.norm.apply(x, rows, normed);
    model.narrow[codebook].apply(normed, rows, narrow);
    relu(narrow);
    model.entries[codebook].apply(narrow, rows, logits);
    toFrequencies(logits, model.codebookSize);
    return logits;
  }

  take(codes: Uint16Array): void {
    const { codebook } = this;
    this.codes[codebook].set(codes);
    this.codebook++;
    // No codebook is predicted from the last one.
    if (this.codebook < this.codes.length) {
      this.model.addCodes(this.model.within[codebook], codebook, codes, this.x);
    }
  }
}

interface Tensor {
  type: "int8" | "float32";
  shape: number[];
  data: Uint8Array;
}

type Tensors = Record<string, Tensor>;

const TYPES: Record<string, [Tensor["type"], number]> = { I8: ["int8", 1], F32: ["float32", 4] };
const MAX_INPUTS = 1032;
const MAX_BLOCKS = 32;
const MAX_DILATION = 1024;
const MAX_HEADER = 1 << 20;

/** What a file of the family holds; nothing but the tensors that its shape calls for. */
function readModel(file: Uint8Array): { shape: Shape; tensors: Tensors } {
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

function fingerprintOf(tensors: Tensors): string {
  const hash = sha256.create();
  for (const name of Object.keys(tensors).sort()) {
    const { type, shape, data } = tensors[name];
    const line = `["${name}", "${type}", [${shape.join(", ")}]]\n`;
    hash.update(new Uint8Array(Array.from(line, (c) => c.charCodeAt(0)))).update(data);
  }
  const digits = Array.from(hash.digest().subarray(0, 8), (n) => n.toString(16).padStart(2, "0"));
  return digits.join("");
}

function wholes({ data }: Tensor): Int8Array {
  return new Int8Array(data);
}

function floats({ data }: Tensor): Float64Array {
  const bytes = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const numbers = new Float64Array(data.length / 4).map((_, n) => bytes.getFloat32(4 * n, true));
  if (!numbers.every(Number.isFinite)) throw new NacError("the language model is not finite");
  return numbers;
}

/** An array in so many equal parts. */
function split<T extends Float64Array | Int8Array>(array: T, parts: number): T[] {
  const size = array.length / parts;
  return Array.from({ length: parts }, (_, n) => array.subarray(n * size, (n + 1) * size) as T);
}

function linears(tensors: Tensors, name: string): Linear[] {
  const [count, , inputs] = tensors[name].shape;
  const weights = split(wholes(tensors[name]), count);
  const scales = split(floats(tensors[`${name}_scale`]), count);
  const biases = tensors[`${name}_bias`] && split(floats(tensors[`${name}_bias`]), count);
  return weights.map((each, n) => new Linear(each, scales[n], biases ? biases[n] : null, inputs));
}
