/**
 * Blocks of codes as the bytes of a range coder and back, after docs/nac.md (version 2). What the
 * codes are expected to be comes from a language model; cascade.ts has acomp's own.
 */

import { NacError } from "./errors";

/** Predicts each code of a frame from those before it, the same to the last bit everywhere. */
export interface LanguageModel {
  /** First 16 hexadecimal digits of the SHA-256 of the weights. */
  readonly fingerprint: string;
  /** Codebooks that it can predict, the first ones of the codec. */
  readonly codebooks: number;
  readonly codebookSize: number;
  /** Begins so many sequences side by side, of which so many codebooks are coded. */
  begin(sequences: number, codebooks: number): Prediction;
}

/** Sequences of frames as far as they are known. */
export interface Prediction {
  /** Goes on to the next frame. */
  nextFrame(): void;
  /**
   * How often each entry of the next codebook is expected, `[sequence][entry]`: whole numbers of at
   * least 1 whose sum is 2^24. They hold until the next call.
   */
  frequencies(): Float64Array;
  /** Takes the code of each sequence, and goes on to the next codebook. */
  take(codes: Uint16Array): void;
}

/** Most frames of a run, which is coded without those before it. */
export const RUN_FRAMES = 192;

const MASK = (1n << 64n) - 1n;
const TOTAL_BITS = 24n;
const WORD_BITS = 32n;
const LEAST_RANGE = 1n << 32n;

class RangeDecoder {
  private lower = 0n;
  private range = MASK;
  private point = 0n;
  private at = 0;

  constructor(private readonly data: Uint8Array) {
    if (data.length % 4) throw new NacError("the coded codes are not whole words");
    this.shift();
    this.shift();
  }

  /** The next code, given how often each is expected. */
  decode(frequencies: Float64Array): number {
    const scale = this.range >> TOTAL_BITS;
    const place = Number(((this.point - this.lower) & MASK) / scale);
    let [code, below] = [0, 0];
    while (code < frequencies.length && below + frequencies[code] <= place) {
      below += frequencies[code++];
    }
    if (code === frequencies.length) throw new NacError("the coded codes are damaged");
    this.lower = (this.lower + scale * BigInt(below)) & MASK;
    this.range = scale * BigInt(frequencies[code]);
    if (this.range < LEAST_RANGE) {
      this.lower = (this.lower << WORD_BITS) & MASK;
      this.range <<= WORD_BITS;
      this.shift();
    }
    return code;
  }

  private shift(): void {
    let word = 0;
    for (const end = this.at + 4; this.at < end; this.at++) {
      word = word * 256 + (this.data[this.at] ?? 0);
    }
    this.point = ((this.point << WORD_BITS) | BigInt(word)) & MASK;
  }
}

class RangeEncoder {
  private lower = 0n;
  private range = MASK;
  private readonly words: number[] = [];

  /** Adds a code, given how often each is expected. */
  encode(frequencies: Float64Array, code: number): void {
    const scale = this.range >> TOTAL_BITS;
    let below = 0;
    for (let n = 0; n < code; n++) below += frequencies[n];
    this.raise(scale * BigInt(below));
    this.range = scale * BigInt(frequencies[code]);
    if (this.range < LEAST_RANGE) {
      this.words.push(Number(this.lower >> WORD_BITS));
      this.lower = (this.lower << WORD_BITS) & MASK;
      this.range <<= WORD_BITS;
    }
  }

  /** The words of all codes; nothing can be added behind them. */
  end(): Uint8Array {
    const { words } = this;
    if (this.range !== MASK) {
      const upper = ((this.lower + this.range) & MASK) >> WORD_BITS;
      this.raise(LEAST_RANGE - 1n);
      words.push(Number(this.lower >> WORD_BITS));
      if (upper === this.lower >> WORD_BITS) words.push(0);
    }
    const data = new Uint8Array(4 * words.length);
    const bytes = new DataView(data.buffer);
    words.forEach((word, n) => bytes.setUint32(4 * n, word));
    return data;
  }

  /** Adds to the lower end, and carries into the words before. */
  private raise(by: bigint): void {
    this.lower += by;
    if (this.lower <= MASK) return;
    this.lower &= MASK;
    let at = this.words.length - 1;
    for (; this.words[at] === 0xffffffff; at--) this.words[at] = 0;
    this.words[at]++;
  }
}

/** The shape of the codes of a file. */
export interface CodesShape {
  streams: number;
  codebooks: number;
}

/** Codes the blocks of a file in order, or any that begin anew; codes are `[frame][stream][codebook]`. */
export class BlockCoder {
  private prediction: Prediction | null = null;

  constructor(
    private readonly model: LanguageModel,
    private readonly shape: CodesShape,
  ) {}

  /**
   * The codes of a block.
   *
   * @param data what the range coder wrote
   * @param lengths frames of each segment, or of the block where it has none
   * @param anew whether it is coded without the block before it
   */
  decode(data: Uint8Array, lengths: number[], anew: boolean): Uint16Array {
    const { streams, codebooks } = this.shape;
    const frames = lengths.reduce((sum, length) => sum + length, 0);
    const codes = new Uint16Array(frames * streams * codebooks);
    const coder = new RangeDecoder(data);
    this.walk(lengths, anew, (place, frequencies) => {
      codes[place] = coder.decode(frequencies);
      return codes[place];
    });
    return codes;
  }

  /** The bytes of the codes of a block, with the arguments of `decode`. */
  encode(codes: Uint16Array, lengths: number[], anew: boolean): Uint8Array {
    const coder = new RangeEncoder();
    this.walk(lengths, anew, (place, frequencies) => {
      coder.encode(frequencies, codes[place]);
      return codes[place];
    });
    return coder.end();
  }

  /** Visits the places of all codes in the order that they are coded in; a visit says the code. */
  private walk(
    lengths: number[],
    anew: boolean,
    visit: (place: number, frequencies: Float64Array) => number,
  ): void {
    const { streams, codebooks } = this.shape;
    const size = this.model.codebookSize;
    const runs = lengths.flatMap(runsOf);
    const starts = [0];
    for (const frames of runs) starts.push(starts[starts.length - 1] + frames);
    if (anew) this.prediction = this.model.begin(runs.length * streams, codebooks);
    const prediction = this.prediction!;
    const taken = new Uint16Array(runs.length * streams);
    for (let frame = 0; frame < Math.max(...runs); frame++) {
      prediction.nextFrame();
      for (let codebook = 0; codebook < codebooks; codebook++) {
        const frequencies = prediction.frequencies();
        for (let row = 0; row < taken.length; row++) {
          const run = Math.floor(row / streams);
          if (frame >= runs[run]) continue;
          const place = ((starts[run] + frame) * streams + (row % streams)) * codebooks + codebook;
          taken[row] = visit(place, frequencies.subarray(row * size, (row + 1) * size));
        }
        prediction.take(taken);
      }
    }
  }
}

/** Frames of the runs, each coded anew, that so many frames are cut into. */
function runsOf(frames: number): number[] {
  const count = Math.ceil(frames / RUN_FRAMES);
  const longest = Math.ceil(frames / count);
  return Array.from({ length: count }, (_, n) => Math.min(longest, frames - n * longest));
}
