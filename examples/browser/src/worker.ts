/** Encodes, decodes and looks at sound, off the page's thread: the most urgent piece first. */

import { Decoding, type Codes } from "./coding";
import { PIECE_SECONDS, type Report, type Request, type Variant } from "./messages";
import { codesOutputs, Folder, LATE, type Network } from "./networks";
import { Encoded, Opened, type Recording } from "./recording";
import { levelsAt } from "./spectrum";

/** Columns of a spectrogram, about. */
const COLUMNS = 1024;

function report(message: Report, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

/** One recording that is open, and what is still to do with it. */
class Session {
  wanted: { variant: number; index: number }[] = [];
  looked = 0;
  private readonly decoding: Decoding;
  /** Pieces of each variant whose columns were made. */
  private readonly drawn = new Map<number, Set<number>>();
  private readonly decoded = new Map<number, { seconds: number; took: number }>();
  private columnStep = 0;
  private announced = false;

  constructor(
    readonly id: number,
    private readonly desk: Desk,
    decoder: Network,
    readonly recording: Recording,
  ) {
    this.decoding = new Decoding(decoder, desk.hop);
    // What can be heard before the encoder is there, which takes a second.
    if (recording.original) this.wanted = [0, 1, 2].map((index) => ({ variant: 0, index }));
  }

  /** The next thing to do; null when nothing is. */
  next(): (() => Promise<void>) | null {
    this.announce();
    const at = this.wanted.findIndex(({ variant, index }) => this.has(variant, index));
    if (at >= 0) {
      const [{ variant, index }] = this.wanted.splice(at, 1);
      return () => this.give(variant, index);
    }
    if (!this.recording.finished) return () => this.advance();
    for (const variant of [0, this.looked]) {
      const index = this.columnStep ? this.undrawn(variant) : -1;
      if (index >= 0) return () => this.give(variant, index);
    }
    return null;
  }

  /** Says what the recording is, as soon as it is known. */
  private announce(): void {
    const { recording, id } = this;
    if (!this.announced && recording.channels) {
      this.announced = true;
      const counts = [...recording.variants.keys()].sort((one, other) => one - other);
      const variants = counts.map((codebooks) => this.desk.variant(codebooks));
      const original = recording.original !== null;
      report({ kind: "opened", id, channels: recording.channels, variants, original });
    }
    if (!this.columnStep && recording.length !== null) {
      this.columnStep = Math.max(64, Math.ceil(recording.length / COLUMNS));
      const columns = Math.ceil(recording.length / this.columnStep);
      report({ kind: "length", id, samples: recording.length, columns });
    }
  }

  private async advance(): Promise<void> {
    const { recording, id } = this;
    await recording.advance();
    const [codes] = recording.variants.values();
    const seconds = (codes?.frames ?? 0) / this.desk.folder.card.frame_rate;
    report({ kind: "frames", id, seconds, took: recording.took });
    if (!recording.finished || !(recording instanceof Encoded)) return;
    for (const variant of recording.variants.keys()) {
      const data = recording.file(variant);
      report({ kind: "file", id, variant, data }, [data.buffer as ArrayBuffer]);
    }
  }

  private has(variant: number, index: number): boolean {
    const { recording } = this;
    if (recording.length !== null && index * this.desk.piece >= recording.length) return false;
    if (variant === 0) return recording.original !== null;
    const codes = recording.variants.get(variant);
    const needed = (index + 1) * this.desk.pieceFrames + LATE;
    return codes !== undefined && (recording.finished || codes.frames >= needed);
  }

  private undrawn(variant: number): number {
    const count = Math.ceil(this.recording.length! / this.desk.piece);
    const drawn = this.drawn.get(variant);
    for (let index = 0; index < count; index++) {
      if (!drawn?.has(index) && this.has(variant, index)) return index;
    }
    return -1;
  }

  /** Sends a piece of sound, and its columns if they were not sent before. */
  private async give(variant: number, index: number): Promise<void> {
    const first = index * this.desk.piece;
    const end = Math.min(first + this.desk.piece, this.recording.length ?? Infinity);
    const samples =
      variant === 0
        ? this.recording.original!.map((channel) => channel.slice(first, end))
        : await this.decode(variant, first, end);
    if (this.columnStep) this.draw(variant, index, samples);
    const transfer = samples.map((channel) => channel.buffer as ArrayBuffer);
    report({ kind: "sound", id: this.id, variant, index, samples }, transfer);
  }

  private async decode(variant: number, first: number, end: number): Promise<Float32Array[]> {
    const codes = this.recording.variants.get(variant) as Codes;
    const { hop } = this.desk;
    const [sound, took] = await this.decoding.samples(codes, first / hop, Math.ceil(end / hop));
    const samples = sound.map((channel) => channel.slice(0, end - first));
    const sum = this.decoded.get(variant) ?? { seconds: 0, took: 0 };
    sum.seconds += (end - first) / this.desk.folder.card.sample_rate;
    sum.took += took;
    this.decoded.set(variant, sum);
    report({ kind: "decoded", id: this.id, variant, ...sum });
    return samples;
  }

  private draw(variant: number, index: number, samples: Float32Array[]): void {
    const drawn = this.drawn.get(variant) ?? new Set();
    this.drawn.set(variant, drawn);
    if (drawn.has(index)) return;
    drawn.add(index);
    const begin = index * this.desk.piece;
    const first = Math.ceil(begin / this.columnStep);
    const places = [];
    for (let at = first * this.columnStep - begin; at < samples[0].length; at += this.columnStep) {
      places.push(at);
    }
    const levels = levelsAt(samples, places);
    report({ kind: "columns", id: this.id, variant, first, levels });
  }
}

/** The networks, and the session that they work on. */
class Desk {
  private session: Session | null = null;
  private encoder: Network | null = null;
  private working = false;

  private constructor(
    readonly folder: Folder,
    private readonly decoder: Network,
  ) {}

  static async open(): Promise<Desk> {
    const folder = await Folder.open("model");
    const desk = new Desk(folder, await folder.network("decoder"));
    const { card } = folder;
    const variants = codesOutputs(card).map(([, codebooks]) => desk.variant(codebooks));
    variants.sort((one, other) => one.codebooks - other.codebooks);
    report({ kind: "loaded", codec: card.codec, sampleRate: card.sample_rate, variants });
    return desk;
  }

  get hop(): number {
    return this.folder.card.hop_length;
  }

  get pieceFrames(): number {
    return Math.round(PIECE_SECONDS * this.folder.card.frame_rate);
  }

  /** Samples of a piece. */
  get piece(): number {
    return this.pieceFrames * this.hop;
  }

  variant(codebooks: number): Variant {
    const { frame_rate, codebook_size } = this.folder.card;
    return { codebooks, kbps: (codebooks * frame_rate * Math.log2(codebook_size)) / 1000 };
  }

  async hear(request: Request): Promise<void> {
    if (request.kind === "encode" || request.kind === "open") {
      this.session = null;
      const { folder, decoder } = this;
      const recording =
        request.kind === "open"
          ? new Opened(folder.card, request.file)
          : new Encoded(() => this.getEncoder(), folder.card, request.samples);
      this.session = new Session(request.id, this, decoder, recording);
    } else if (this.session?.id === request.id) {
      if (request.kind === "want") this.session.wanted.push(request);
      else this.session.looked = request.variant;
    }
    void this.work();
  }

  /** Does what there is to do, piece by piece, and hears what the page says in between. */
  private async work(): Promise<void> {
    if (this.working) return;
    this.working = true;
    for (;;) {
      await breath();
      const { session } = this;
      try {
        const task = session?.next();
        if (!task) break;
        await task();
      } catch (error) {
        report({ kind: "problem", id: session?.id ?? null, text: textOf(error) });
        // Another may have been opened while this one went wrong.
        if (this.session === session) this.session = null;
      }
    }
    this.working = false;
  }

  /** Loaded when it is first needed: files are decoded without it. */
  private async getEncoder(): Promise<Network> {
    this.encoder ??= await this.folder.network("encoder");
    return this.encoder;
  }
}

/** Lets messages in. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const desk = Desk.open();
desk.catch((error) => {
  report({ kind: "problem", id: null, text: `the model could not be loaded: ${textOf(error)}` });
});
self.onmessage = async ({ data }: MessageEvent<Request>) => {
  await (await desk).hear(data);
};
