/**
 * Arithmetic with the same result, to the last bit, everywhere: docs/entropy.md, "The arithmetic,
 * exactly". Every number is a double, and every sum is one of whole numbers that it holds.
 */

import { plainProduct, type Product, type Products } from "./products";

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

/** The same of numbers below 2^51, where the sign needs no question. */
function rintSmall(x: number): number {
  return x + 3 * 2 ** 51 - 3 * 2 ** 51;
}

export function snap(x: number): number {
  return rint(x * GRID) / GRID;
}

/** A matrix of 8-bit numbers, `[outputs, inputs]`, with a scale for each row. */
export class Linear {
  private readonly product: Product;
  private readonly limit: number;

  constructor(
    weights: Int8Array,
    private readonly scales: Float64Array,
    private readonly biases: Float64Array | null,
    readonly inputs: number,
    products: Products | null,
  ) {
    this.limit = Math.floor((TOTAL - 1) / (WEIGHT_LIMIT * inputs));
    const short = this.limit < 2 ** 15;
    this.product = products && short ? products.of(weights, inputs) : plainProduct(weights, inputs);
  }

  get outputs(): number {
    return this.scales.length;
  }

  /** From rows of inputs to rows of outputs. */
  apply(x: Float64Array, rows: number, y: Float64Array): void {
    const { inputs, outputs, scales, biases } = this;
    const whole = new Int32Array(rows * inputs);
    const steps = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      const [begin, end] = [row * inputs, (row + 1) * inputs];
      steps[row] = this.toWhole(x.subarray(begin, end), whole.subarray(begin, end));
    }
    const sums = this.product(whole, rows);
    for (let n = 0; n < outputs; n++) {
      const bias = biases ? biases[n] : 0;
      for (let row = 0; row < rows; row++) {
        y[row * outputs + n] = sums[n * rows + row] * steps[row] * scales[n] + bias;
      }
    }
  }

  /** Rounds a row to whole numbers, and gives their scale. */
  private toWhole(x: Float64Array, whole: Int32Array): number {
    let greatest = TINY;
    for (let n = 0; n < x.length; n++) {
      const size = Math.abs(x[n]);
      if (size > greatest) greatest = size;
    }
    const step = greatest / this.limit;
    for (let n = 0; n < x.length; n++) whole[n] = rintSmall(x[n] / step);
    return step;
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
    for (let n = at; n < at + size; n++) if (logits[n] > most) most = logits[n];
    let sum = 0;
    for (let n = at; n < at + size; n++) {
      const below = (most - logits[n]) * STEPS_OF_E;
      const step = below < STEPS * OCTAVES ? rintSmall(below) : STEPS * OCTAVES;
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
