/** Plays pieces of sound one after the other, and changes between variants without a gap. */

/** Where the player gets sound from. */
export interface Source {
  readonly channels: number;
  /** Samples of a piece. */
  readonly piece: number;
  /** Samples in all; null until it is known. */
  readonly length: number | null;
  /** A piece, or null if it is not there; it is then wanted. */
  get(variant: number, index: number): Float32Array[] | null;
}

/** Seconds that are given to the system ahead: timers of hidden pages run once a second. */
const AHEAD = 2.5;
/** Seconds until what is decided now is heard. */
const SOON = 0.05;
const FADE = 0.01;
const TICK = 50;

interface Piece {
  node: AudioBufferSourceNode;
  /** When it sounds, and from which sample on. */
  time: number;
  sample: number;
  length: number;
}

/** Pieces of one variant that follow each other. */
interface Run {
  gain: GainNode;
  pieces: Piece[];
}

export class Player {
  playing = false;
  /** What is heard; `coming` is what was chosen, and not there yet. */
  variant = 0;
  coming: number | null = null;
  /** Called when anything but the position changes. */
  onchange: () => void = () => {};
  /** Called when the first sound of a source is on its way. */
  onsound: () => void = () => {};

  private readonly context: AudioContext;
  private source: Source | null = null;
  private run: Run | null = null;
  /** The sample that comes next, and when. */
  private next = { sample: 0, time: 0 };
  private timer = 0;
  private heard = false;

  constructor(private readonly rate: number) {
    this.context = new AudioContext({ sampleRate: rate });
  }

  open(source: Source, variant: number): void {
    this.pause();
    this.source = source;
    this.variant = variant;
    this.coming = null;
    this.heard = false;
    this.next = { sample: 0, time: 0 };
    this.onchange();
  }

  /** The sample that is heard. */
  get position(): number {
    const now = this.context.currentTime;
    const pieces = this.run?.pieces ?? [];
    const piece = pieces.find(({ time, length }) => now < time + length / this.rate);
    if (!piece) return this.next.sample;
    return piece.sample + Math.max(0, Math.floor((now - piece.time) * this.rate));
  }

  play(): void {
    if (!this.source || this.playing) return;
    if (this.source.length !== null && this.next.sample >= this.source.length) this.next.sample = 0;
    this.playing = true;
    // A browser may keep silent until it was clicked at: then `play` is asked for again.
    void this.context.resume();
    this.next.time = 0;
    this.timer = window.setInterval(() => this.tick(), TICK);
    this.tick();
    this.onchange();
  }

  pause(): void {
    if (!this.playing) return;
    const sample = this.position;
    this.stop();
    this.next.sample = sample;
    this.onchange();
  }

  seek(sample: number): void {
    const again = this.playing;
    if (again) this.stop();
    const end = this.source?.length ?? Infinity;
    this.next.sample = Math.max(0, Math.min(Math.round(sample), end));
    if (again) this.play();
    this.onchange();
  }

  choose(variant: number): void {
    this.coming = variant === this.variant ? null : variant;
    if (!this.playing && this.coming !== null) {
      this.variant = this.coming;
      this.coming = null;
    }
    this.onchange();
    if (this.playing) this.tick();
  }

  /** A piece has come. */
  arrived(): void {
    if (this.playing) this.tick();
  }

  private stop(): void {
    this.playing = false;
    window.clearInterval(this.timer);
    this.fade(this.context.currentTime);
  }

  /** Ends what sounds, at a time. */
  private fade(time: number): void {
    if (!this.run) return;
    const { gain, pieces } = this.run;
    gain.gain.setValueAtTime(1, time);
    gain.gain.linearRampToValueAtTime(0, time + FADE);
    for (const { node } of pieces) node.stop(time + FADE);
    this.run = null;
  }

  private tick(): void {
    if (!this.source) return;
    this.change();
    const now = this.context.currentTime;
    if (this.run) {
      this.run.pieces = this.run.pieces.filter(
        ({ time, length }) => time + length / this.rate > now,
      );
    }
    while (this.playing && this.next.time < now + AHEAD) {
      const { length, piece } = this.source;
      if (length !== null && this.next.sample >= length) {
        if (this.next.time <= now) this.finish();
        return;
      }
      const index = Math.floor(this.next.sample / piece);
      const samples = this.source.get(this.variant, index);
      if (!samples) return;
      this.next.time = Math.max(this.next.time, now + SOON);
      this.give(samples.map((channel) => channel.subarray(this.next.sample - index * piece)));
    }
  }

  /** Changes to what was chosen, at the place that is heard then. */
  private change(): void {
    if (this.coming === null || !this.source) return;
    const time = this.context.currentTime + SOON;
    const sample = this.position + (this.run ? Math.round(SOON * this.rate) : 0);
    const { length, piece } = this.source;
    const ends = length !== null && sample >= length;
    if (!ends && !this.source.get(this.coming, Math.floor(sample / piece))) return;
    this.fade(time);
    this.variant = this.coming;
    this.coming = null;
    this.next = { sample, time };
    this.onchange();
  }

  private give(samples: Float32Array[]): void {
    const { context, rate } = this;
    if (!this.run) {
      const gain = context.createGain();
      gain.connect(context.destination);
      gain.gain.setValueAtTime(0, this.next.time);
      gain.gain.linearRampToValueAtTime(1, this.next.time + FADE);
      this.run = { gain, pieces: [] };
    }
    const length = samples[0].length;
    const buffer = context.createBuffer(samples.length, length, rate);
    samples.forEach((channel, n) => buffer.copyToChannel(channel as Float32Array<ArrayBuffer>, n));
    const node = new AudioBufferSourceNode(context, { buffer });
    node.connect(this.run.gain);
    node.start(this.next.time);
    this.run.pieces.push({ node, ...this.next, length });
    this.next = { sample: this.next.sample + length, time: this.next.time + length / rate };
    if (!this.heard) this.onsound();
    this.heard = true;
  }

  /** The end was heard. */
  private finish(): void {
    this.stop();
    this.next.sample = this.source?.length ?? 0;
    this.onchange();
  }
}
