/** acomp's own language model of codes, after docs/entropy.md ("acomp's own model"). */

import { floats, fingerprintOf, readModel, wholes, type Tensors } from "./cascade_file";
import type { LanguageModel, Prediction } from "./entropy";
import { Linear, Norm, relu, snap, toFrequencies } from "./exact";
import { Products } from "./products";

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
    const products = Products.make();
    this.codebooks = shape.codebooks;
    this.codebookSize = shape.codebook_size;
    this.width = shape.width;
    this.fingerprint = fingerprintOf(tensors);
    const norms = split(floats(tensors.norm), shape.dilations.length + 1).map((both) => {
      const [weights, biases] = split(both, 2);
      return new Norm(weights, biases);
    });
    const first = linears(tensors, "first", products);
    const second = linears(tensors, "second", products);
    this.blocks = shape.dilations.map((dilation, n) => ({
      dilation,
      norm: norms[n],
      first: first[n],
      second: second[n],
    }));
    this.norm = norms[norms.length - 1];
    this.narrow = linears(tensors, "narrow", products);
    this.entries = linears(tensors, "entries", products);
    this.before = linears(tensors, "before", products);
    this.within = linears(tensors, "within", products);
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

/** An array in so many equal parts. */
function split<T extends Float64Array | Int8Array>(array: T, parts: number): T[] {
  const size = array.length / parts;
  return Array.from({ length: parts }, (_, n) => array.subarray(n * size, (n + 1) * size) as T);
}

function linears(tensors: Tensors, name: string, products: Products | null): Linear[] {
  const [count, , inputs] = tensors[name].shape;
  const weights = split(wholes(tensors[name]), count);
  const scales = split(floats(tensors[`${name}_scale`]), count);
  const biases = tensors[`${name}_bias`] && split(floats(tensors[`${name}_bias`]), count);
  return weights.map(
    (each, n) => new Linear(each, scales[n], biases ? biases[n] : null, inputs, products),
  );
}
