/** Samples to codes and back, piece by piece. Codes are `[frame][stream][codebook]`, as in `.nac`. */

import { Tensor } from "onnxruntime-web/wasm";
import { codesOutputs, LATE, type Card, type Network, type State } from "./networks";

/** Codes that become more. */
export class Codes {
  frames = 0;
  private data = new Uint16Array(1024);

  constructor(
    readonly streams: number,
    readonly codebooks: number,
  ) {}

  push(codes: Uint16Array): void {
    const held = this.frames * this.streams * this.codebooks;
    if (held + codes.length > this.data.length) {
      const larger = new Uint16Array(2 * (held + codes.length));
      larger.set(this.data.subarray(0, held));
      this.data = larger;
    }
    this.data.set(codes, held);
    this.frames += codes.length / (this.streams * this.codebooks);
  }

  slice(first: number, end: number): Uint16Array {
    const each = this.streams * this.codebooks;
    return this.data.slice(first * each, end * each);
  }
}

/** Encodes a recording from its beginning to its end, with every number of codebooks at once. */
export class Encoding {
  /** Seconds that the network took. */
  took = 0;
  readonly variants = new Map<number, Codes>();
  readonly frames: number;
  private done = 0;
  private state: State | null = null;

  constructor(
    private readonly network: () => Promise<Network>,
    private readonly samples: Float32Array[],
    private readonly card: Card,
  ) {
    for (const [, codebooks] of codesOutputs(card)) {
      this.variants.set(codebooks, new Codes(samples.length, codebooks));
    }
    this.frames = Math.ceil(samples[0].length / card.hop_length) + 1;
  }

  get finished(): boolean {
    return this.done === this.frames;
  }

  /** Encodes so many frames more, or what there is. */
  async push(frames: number): Promise<void> {
    const { samples, card } = this;
    const network = await this.network();
    this.state ??= network.start(samples.length);
    const count = Math.min(frames, this.frames - this.done);
    const [first, size] = [this.done * card.hop_length, count * card.hop_length];
    // What lies behind the end is silence.
    const input = new Float32Array(samples.length * size);
    samples.forEach((channel, n) => input.set(channel.subarray(first, first + size), n * size));
    const begun = performance.now();
    const results = await network.run(
      new Tensor("float32", input, [samples.length, size]),
      this.state,
    );
    this.took += (performance.now() - begun) / 1000;
    for (const [name, codebooks] of codesOutputs(card)) {
      const found = results[name].data as BigInt64Array;
      this.variants.get(codebooks)!.push(inOrder(found, samples.length, codebooks, count));
    }
    this.done += count;
  }
}

/** `[stream][codebook][frame]` to `[frame][stream][codebook]`. */
function inOrder(found: BigInt64Array, streams: number, codebooks: number, frames: number): Uint16Array {
  const codes = new Uint16Array(found.length);
  const each = streams * codebooks;
  for (let row = 0; row < each; row++) {
    for (let frame = 0; frame < frames; frame++) {
      codes[frame * each + row] = Number(found[row * frames + frame]);
    }
  }
  return codes;
}

/** Decodes any stretch of codes; one that goes on where the last ended costs least. */
export class Decoding {
  private state: State = {};
  private next = -1;
  private codes: Codes | null = null;

  constructor(
    private readonly network: Network,
    private readonly hop: number,
  ) {}

  /**
   * The samples from hop `first` to hop `end`, of each stream, and the seconds that they took.
   * Behind the last frame stands one of codes -1.
   */
  async samples(codes: Codes, first: number, end: number): Promise<[Float32Array[], number]> {
    const { streams, codebooks } = codes;
    if (codes !== this.codes || this.next !== first + LATE) {
      this.codes = codes;
      this.next = Math.max(0, first + LATE - this.network.memory);
      this.state = this.network.start(streams);
    }
    const count = end + LATE - this.next;
    const dropped = (first + LATE - this.next) * this.hop;
    const wanted = codes.slice(this.next, Math.min(end + LATE, codes.frames));
    const each = streams * codebooks;
    const input = new BigInt64Array(each * count).fill(-1n);
    wanted.forEach((code, n) => {
      input[(n % each) * count + Math.floor(n / each)] = BigInt(code);
    });
    const begun = performance.now();
    const results = await this.network.run(
      new Tensor("int64", input, [streams, codebooks, count]),
      this.state,
    );
    const took = (performance.now() - begun) / 1000;
    this.next = end + LATE;
    const size = count * this.hop;
    const found = results.samples.data as Float32Array;
    const sound = Array.from({ length: streams }, (_, n) =>
      found.slice(n * size + dropped, (n + 1) * size),
    );
    return [sound, took];
  }
}
