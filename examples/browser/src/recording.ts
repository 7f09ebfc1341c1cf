/** What is open: sound that is encoded, or a file that is read; both have codes that become more. */

import { Cascade } from "./cascade";
import { Codes, Encoding } from "./coding";
import { NacReader, write, type NacFrames, type NacInfo } from "./nac";
import { fetchBytes, type Card, type Network } from "./networks";

/** Most seconds of a `.nac` file, and most codes: what memory is taken for. */
const MOST_SECONDS = 12 * 3600;
const MOST_CODES = 1e8;
const MOST_CHANNELS = 8;
/** Bytes that are read at a time: little, because entropy-coded codes take long. */
const SLICE = 1024;
/** The version of `.nac`, its fourth byte, whose codes a language model reads. */
const CODED = 2;
const LANGUAGE_MODEL = "model/language-model.safetensors";

export interface Recording {
  readonly channels: number;
  readonly variants: Map<number, Codes>;
  /** The samples that were opened, if they were samples. */
  readonly original: Float32Array[] | null;
  /** Samples of each channel at the codec's rate; null until it is known. */
  readonly length: number | null;
  readonly finished: boolean;
  /** Seconds that making the codes has taken, without what else was done meanwhile. */
  readonly took: number;
  /** Makes some more codes. */
  advance(): Promise<void>;
}

/** Sound that is encoded. */
export class Encoded implements Recording {
  readonly variants: Map<number, Codes>;
  readonly length: number;
  private readonly encoding: Encoding;
  private begun = false;

  constructor(
    network: () => Promise<Network>,
    private readonly card: Card,
    readonly original: Float32Array[],
  ) {
    this.encoding = new Encoding(network, original, card);
    this.variants = this.encoding.variants;
    this.length = original[0].length;
  }

  get channels(): number {
    return this.original.length;
  }

  get finished(): boolean {
    return this.encoding.finished;
  }

  get took(): number {
    return this.encoding.took;
  }

  async advance(): Promise<void> {
    // The first second of sound takes one frame more than a second.
    await this.encoding.push(Math.round(this.card.frame_rate) + (this.begun ? 0 : 1));
    this.begun = true;
  }

  /** The `.nac` file of a variant, byte for byte what acomp writes. */
  file(codebooks: number): Uint8Array {
    const codes = this.variants.get(codebooks)!;
    const info = infoOf(this.card, this.channels, codebooks);
    const step = Math.floor((4096 * 8) / (this.channels * codebooks * 10));
    const blocks: NacFrames[] = [];
    for (let first = 0; first < codes.frames; first += step) {
      const end = Math.min(first + step, codes.frames);
      blocks.push({ first, frames: end - first, codes: codes.slice(first, end), segments: [] });
    }
    return write({ info, blocks, length: this.length });
  }
}

/** The metadata of a file of sound at the codec's own sample rate. */
function infoOf(card: Card, channels: number, codebooks: number): NacInfo {
  return {
    codec: card.codec,
    sample_rate: card.sample_rate,
    channels,
    streams: channels,
    codebooks,
    codebook_size: card.codebook_size,
    hop_length: card.hop_length,
    source_rate: card.sample_rate,
    fingerprint: card.weights,
  };
}

/** A `.nac` file that is read. */
export class Opened implements Recording {
  readonly original = null;
  readonly variants = new Map<number, Codes>();
  channels = 0;
  length: number | null = null;
  finished = false;
  took = 0;
  private reader: NacReader | null = null;
  private readonly bytes: ReadableStreamDefaultReader<Uint8Array>;
  private held = new Uint8Array(0);

  constructor(
    private readonly card: Card,
    private readonly blob: Blob,
  ) {
    this.bytes = blob.stream().getReader();
  }

  async advance(): Promise<void> {
    this.reader ??= await this.begin();
    if (!this.held.length) {
      const { value } = await this.bytes.read();
      if (!value) return this.end(this.reader);
      this.held = value as Uint8Array<ArrayBuffer>;
    }
    const slice = this.held.subarray(0, SLICE);
    this.held = this.held.subarray(SLICE);
    const begun = performance.now();
    this.take(this.reader, this.reader.push(slice));
    this.took += (performance.now() - begun) / 1000;
  }

  /** The reader; with the language model, which is fetched only where there is need of it. */
  private async begin(): Promise<NacReader> {
    const start = new Uint8Array(await this.blob.slice(0, 4).arrayBuffer());
    return start[3] === CODED ? new NacReader(new Cascade(await fetchBytes(LANGUAGE_MODEL))) : new NacReader();
  }

  private end(reader: NacReader): void {
    this.take(reader, reader.end());
    const { info, length } = reader;
    const hops = this.codes.frames - 1;
    const samples = Math.ceil((length! * this.card.sample_rate) / info!.source_rate);
    this.length = Math.max(0, Math.min(samples, hops * this.card.hop_length));
    if (!this.length) throw new Error("the file holds no sound");
    this.finished = true;
  }

  private get codes(): Codes {
    return [...this.variants.values()][0];
  }

  private take(reader: NacReader, blocks: NacFrames[]): void {
    const { info } = reader;
    if (info && !this.channels) {
      checkInfo(info, this.card);
      this.channels = info.channels;
      this.variants.set(info.codebooks, new Codes(info.streams, info.codebooks));
    }
    for (const block of blocks) {
      const frames = this.codes.frames + block.frames;
      const long = frames > MOST_SECONDS * this.card.frame_rate;
      if (long || frames * info!.streams * info!.codebooks > MOST_CODES) {
        throw new Error(`the file is longer than this page takes, ${MOST_SECONDS / 3600} hours`);
      }
      if (block.segments.length) throw new Error(`${this.card.codec} has no segments; the file does`);
      this.codes.push(block.codes);
    }
  }
}

/** Complains about codes of another codec than the page's. */
function checkInfo(info: NacInfo, card: Card): void {
  if (info.codec !== card.codec) {
    throw new Error(`the file is of the codec ${info.codec}; this page has ${card.codec}: use acomp`);
  }
  if (info.fingerprint !== null && info.fingerprint !== card.weights) {
    throw new Error(`the file was made with other weights of ${card.codec} than this page's`);
  }
  const same =
    info.sample_rate === card.sample_rate &&
    info.hop_length === card.hop_length &&
    info.codebook_size === card.codebook_size;
  if (!same || info.streams !== info.channels || (info.chunk ?? null) !== null) {
    throw new Error(`the file is damaged: it is not of the shape of ${card.codec}`);
  }
  if (info.channels > MOST_CHANNELS) {
    throw new Error(`the file has ${info.channels} channels; this page takes ${MOST_CHANNELS}`);
  }
}
