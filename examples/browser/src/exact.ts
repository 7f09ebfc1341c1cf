/**
 * Arithmetic with the same result, to the last bit, everywhere: docs/entropy.md, "The arithmetic,
 * exactly". Every number is a double, and every sum is one of whole numbers that it holds.
 */

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
export function rint(x: number): number {
  if (Math.abs(x) >= 2 ** 52) return x;
  return x < 0 ? x - 2 ** 52 + 2 ** 52 : x + 2 ** 52 - 2 ** 52;
}

export function snap(x: number): number {
  return rint(x * GRID) / GRID;
}

/** Two sums below 2^24 fit into one double, side by side, which halves the multiplications. */
const SIDE = 2 ** 26;

/** A matrix of 8-bit numbers, `[outputs, inputs]`, with a scale for each row. */
export class Linear {
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
export class Norm {
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

export function relu(x: Float64Array): void {
  for (let n = 0; n < x.length; n++) x[n] = Math.max(x[n], 0);
}

/** Turns the logits of each row into the frequencies of its entries, in place. */
export function toFrequencies(logits: Float64Array, size: number): void {
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
