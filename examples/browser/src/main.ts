/** The page: what was opened, how it sounds, looks and measures. */

import { PIECE_SECONDS, type Report, type Request, type Variant } from "./messages";
import { Picture } from "./picture";
import { Player, type Source } from "./player";
import { Recorder, samplesOf, secondsOf } from "./sound";

/** Seconds of sound that are kept for playing, of all variants together. */
const KEPT_SECONDS = 600;
const MOST_SECONDS = 3600;
const MOST_CHANNELS = 8;
/** Bytes from which on a file is asked for its length before memory is taken for its samples. */
const LARGE = 2e6;
/** Seconds that an arrow key goes. */
const STEP = 2;

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** What is open. */
class Opened implements Source {
  channels = 1;
  length: number | null = null;
  variants: Variant[] = [];
  hasOriginal = false;
  /** Seconds that have codes by now, and that these took. */
  coded = { seconds: 0, took: 0 };
  readonly decoded = new Map<number, { seconds: number; took: number }>();
  readonly files = new Map<number, { size: number; url: string }>();
  readonly pictures = new Map<number, Picture>();
  private readonly pieces = new Map<string, Float32Array[]>();
  private readonly wanted = new Set<string>();

  constructor(
    readonly id: number,
    readonly name: string,
    readonly piece: number,
    private readonly ask: (request: Request) => void,
  ) {}

  get(variant: number, index: number): Float32Array[] | null {
    for (const next of [index, index + 1]) this.want(variant, next);
    return this.pieces.get(`${variant} ${index}`) ?? null;
  }

  take(variant: number, index: number, samples: Float32Array[]): void {
    const key = `${variant} ${index}`;
    this.wanted.delete(key);
    this.pieces.set(key, samples);
    const [oldest] = this.pieces.keys();
    if (this.pieces.size > KEPT_SECONDS / PIECE_SECONDS) this.pieces.delete(oldest);
  }

  private want(variant: number, index: number): void {
    const key = `${variant} ${index}`;
    if (this.pieces.has(key) || this.wanted.has(key)) return;
    if (this.length !== null && index * this.piece >= this.length) return;
    this.wanted.add(key);
    this.ask({ kind: "want", id: this.id, variant, index });
  }

  close(): void {
    for (const { url } of this.files.values()) URL.revokeObjectURL(url);
    for (const picture of this.pictures.values()) picture.close();
  }
}

class Page {
  private readonly worker = new Worker("worker.js", { type: "module" });
  private readonly status = element("status");
  private readonly seekBar = element<HTMLInputElement>("seek");
  private rate = 0;
  private variants: Variant[] = [];
  private player: Player | null = null;
  private open: Opened | null = null;
  private recorder: Recorder | null = null;
  private starting = false;
  /** Opens what was chosen before the model was there. */
  private early: (() => void) | null = null;
  private count = 0;
  /** The coded variant whose spectrogram is shown. */
  private looked = 0;
  private dragging = false;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Report>) => this.hear(data);
    this.worker.onerror = () => this.say("the page's worker could not be started", true);
    this.listen();
    const turn = () => {
      this.showPosition();
      requestAnimationFrame(turn);
    };
    turn();
  }

  private ask(request: Request, transfer: Transferable[] = []): void {
    this.worker.postMessage(request, transfer);
  }

  private say(text: string, alarm = false): void {
    this.status.textContent = text;
    this.status.classList.toggle("alarm", alarm);
  }

  /** Says what is wrong, and with which file, which is then no longer played. */
  private complain(problem: string, open: Opened | null = null): void {
    if (open) {
      this.player?.pause();
      element("stage").hidden = true;
    }
    this.say(open ? `${open.name}: ${problem}.` : sentence(problem), true);
  }

  // What the worker says

  private hear(report: Report): void {
    if (report.kind === "loaded") return this.begin(report.sampleRate, report.variants);
    if (report.kind === "problem" && (report.id === null || report.id === this.open?.id)) {
      return this.complain(report.text, report.id === null ? null : this.open);
    }
    const { open } = this;
    if (!open || !("id" in report) || report.id !== open.id) return;
    if (report.kind === "opened") {
      open.channels = report.channels;
      open.variants = report.variants;
      open.hasOriginal = report.original;
      this.show(open);
    } else if (report.kind === "frames") {
      open.coded = report;
      this.showFigures();
    } else if (report.kind === "length") {
      open.length = report.samples;
      for (const variant of [0, ...open.variants.map(({ codebooks }) => codebooks)]) {
        open.pictures.set(variant, new Picture(document.createElement("canvas"), report.columns));
      }
      this.look();
      this.showFigures();
    } else if (report.kind === "sound") {
      open.take(report.variant, report.index, report.samples);
      this.player!.arrived();
    } else if (report.kind === "columns") {
      open.pictures.get(report.variant)?.put(report.first, report.levels);
    } else if (report.kind === "decoded") {
      open.decoded.set(report.variant, report);
      this.showFigures();
    } else if (report.kind === "file") {
      const blob = new Blob([report.data as Uint8Array<ArrayBuffer>]);
      open.files.set(report.variant, { size: blob.size, url: URL.createObjectURL(blob) });
      this.showFigures();
    }
  }

  private begin(rate: number, variants: Variant[]): void {
    this.rate = rate;
    this.variants = variants;
    this.player = new Player(rate);
    this.player.onchange = () => this.showPlaying();
    this.player.onsound = () => performance.mark("sound");
    this.say("Ready.");
    performance.mark("ready");
    this.early?.();
    // What was just fetched is in the browser's own cache.
    if ("serviceWorker" in navigator) void navigator.serviceWorker.register("sw.js").catch(() => {});
  }

  // What is opened

  private async take(file: File): Promise<void> {
    performance.mark("opened");
    const start = await file.slice(0, 3).arrayBuffer().catch(() => null);
    if (!start) return this.complain(`it cannot be read: ${file.name} is a folder, or was moved`);
    const isNac = new TextDecoder().decode(start) === "NAC";
    await this.opening(file.name, isNac ? file : () => this.samplesOf(file));
  }

  private async samplesOf(file: File): Promise<Float32Array[]> {
    if (!file.size) throw new Error("there is nothing in it");
    if (file.size > LARGE) checkSeconds(await secondsOf(file));
    return samplesOf(file, this.rate);
  }

  /** Opens a `.nac` file, or what samples come from. */
  private async opening(name: string, what: File | (() => Promise<Float32Array[]>)): Promise<void> {
    if (!this.player) {
      this.early = () => void this.opening(name, what);
      return;
    }
    this.player.pause();
    this.open?.close();
    const id = ++this.count;
    const open = new Opened(id, name, PIECE_SECONDS * this.rate, (request) => this.ask(request));
    this.open = open;
    element("stage").hidden = true;
    this.say(`Opening ${name} …`);
    try {
      if (what instanceof File) return this.ask({ kind: "open", id, file: what });
      const samples = checked(await what(), this.rate);
      if (this.open !== open) return;
      const transfer = samples.map((channel) => channel.buffer as ArrayBuffer);
      this.ask({ kind: "encode", id, samples }, transfer);
    } catch (error) {
      if (this.open === open) this.complain(textOf(error), open);
    }
  }

  private async toggleRecording(): Promise<void> {
    // A second click, before the microphone is there, would leave the first one's on.
    if (this.starting) return;
    const button = element<HTMLButtonElement>("record");
    const { recorder } = this;
    try {
      if (recorder) {
        this.recorder = null;
        button.textContent = "Record";
        button.setAttribute("aria-pressed", "false");
        await this.opening("recording", () => recorder.stop(this.rate));
      } else {
        this.player?.pause();
        this.starting = true;
        this.recorder = await Recorder.start().finally(() => (this.starting = false));
        button.textContent = "Stop recording";
        button.setAttribute("aria-pressed", "true");
        this.say("Recording …");
      }
    } catch (error) {
      this.complain(textOf(error));
    }
  }

  private async sample(name: string): Promise<void> {
    const answer = await fetch(`samples/${name}.flac`).catch(() => null);
    if (!answer?.ok) return this.complain(`the sample could not be fetched: ${name}.flac`);
    await this.take(new File([await answer.blob()], `${name}.flac`));
  }

  // What is shown

  private show(open: Opened): void {
    const before = this.player!.variant;
    const kept = open.variants.some(({ codebooks }) => codebooks === before);
    const first = open.hasOriginal ? (kept ? before : 0) : open.variants[0].codebooks;
    element("title").textContent = open.name;
    element("original").hidden = !open.hasOriginal;
    this.say("");
    element("stage").hidden = false;
    // So that the space bar plays, rather than opening the same again.
    if (element("drop").contains(document.activeElement)) element("play").focus();
    this.showVariants(open);
    const middle = open.variants[Math.min(2, open.variants.length - 1)].codebooks;
    this.looked = first || middle;
    this.look();
    this.player!.open(open, first);
    this.player!.play();
  }

  private showVariants(open: Opened): void {
    const names = open.variants.map(({ codebooks, kbps }) => [codebooks, `${kbps}`, "kbps"] as const);
    const all = open.hasOriginal ? [[0, "Original", ""] as const, ...names] : names;
    const labels = all.map(([variant, name, unit]) => {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      Object.assign(radio, { type: "radio", name: "variant", value: `${variant}` });
      radio.addEventListener("change", () => this.choose(variant));
      const small = document.createElement("small");
      small.textContent = unit;
      label.append(radio, name, small);
      return label;
    });
    element("variants").replaceChildren(element("variants").firstElementChild!, ...labels);
  }

  private choose(variant: number): void {
    const { open, player } = this;
    const known = variant === 0 ? open?.hasOriginal : open?.variants.some((each) => each.codebooks === variant);
    if (!open || !player || !known) return;
    player.choose(variant);
    if (variant) {
      this.looked = variant;
      this.look();
    }
  }

  /** Puts the pictures in their places and asks for what they lack. */
  private look(): void {
    const { open, looked } = this;
    if (!open) return;
    for (const [id, variant] of [["original", 0], ["coded", looked]] as const) {
      // Until there is a picture, none of what was open before.
      const canvas = open.pictures.get(variant)?.canvas ?? document.createElement("canvas");
      element(id).querySelector("canvas")!.replaceWith(canvas);
    }
    const kbps = open.variants.find(({ codebooks }) => codebooks === looked)?.kbps;
    element("coded").querySelector("figcaption")!.textContent = `${kbps} kbps`;
    this.ask({ kind: "look", id: open.id, variant: looked });
  }

  private showPlaying(): void {
    const player = this.player!;
    const button = element("play");
    button.textContent = player.playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    const chosen = player.coming ?? player.variant;
    for (const radio of document.querySelectorAll<HTMLInputElement>("#variants input")) {
      radio.checked = Number(radio.value) === chosen;
      radio.parentElement!.classList.toggle("coming", Number(radio.value) === player.coming);
    }
  }

  private showPosition(): void {
    const { open, player, rate, seekBar } = this;
    if (!open || !player || element("stage").hidden) return;
    const end = (open.length ?? open.coded.seconds * rate) / rate;
    const now = player.position / rate;
    if (!this.dragging) {
      seekBar.max = `${end}`;
      seekBar.value = `${now}`;
    }
    seekBar.setAttribute("aria-valuetext", `${clock(now)} of ${clock(end)}`);
    element("time").textContent = `${clock(now)} / ${clock(end)}`;
    const pictures = element("pictures");
    element("head").hidden = open.length === null;
    element("head").style.transform = `translateX(${(now / end) * (pictures.clientWidth - 2)}px)`;
  }

  private showFigures(): void {
    const { open, rate } = this;
    if (!open) return;
    const whole = open.length === null ? open.coded.seconds : open.length / rate;
    element("encoding").textContent = this.encodingText(open, whole);
    const rows = open.variants.map(({ codebooks, kbps }) => {
      const file = open.files.get(codebooks);
      const bits = open.coded.seconds * kbps * 1000 * open.channels;
      const size = file?.size ?? bits / 8;
      const pcm = 2 * open.channels * rate * (file ? whole : open.coded.seconds);
      const decoded = open.decoded.get(codebooks);
      const cells: (string | HTMLElement)[] = [
        `${kbps}`,
        size ? `${Math.round(size).toLocaleString("en")}\u00a0B` : "–",
        pcm ? `${((100 * size) / pcm).toFixed(1)} %` : "–",
        decoded ? times(decoded).replaceAll(" ", "\u00a0") : "–",
        file ? link(file.url, `${stem(open.name)}-${kbps}kbps.nac`) : open.hasOriginal ? "…" : "–",
      ];
      const row = document.createElement("tr");
      row.append(
        ...cells.map((content) => {
          const cell = document.createElement("td");
          cell.append(content);
          return cell;
        }),
      );
      return row;
    });
    if (!element("rows").contains(document.activeElement)) element("rows").replaceChildren(...rows);
  }

  private encodingText(open: Opened, whole: number): string {
    if (!open.hasOriginal) return `${clock(whole)} of ${open.channels === 1 ? "mono" : `${open.channels} channels`}`;
    const all = open.variants.length > 1 ? ", all bit rates at once" : "";
    const speed = open.coded.took ? `: ${times(open.coded)}` : "";
    return open.files.size
      ? `Encoded ${clock(whole)} in ${open.coded.took.toFixed(1)} s${speed}${all}.`
      : `Encoding, ${clock(open.coded.seconds)} of ${clock(whole)}${speed}${all}.`;
  }

  // What people do

  private listen(): void {
    const file = element<HTMLInputElement>("file");
    element("choose").addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      if (file.files?.[0]) void this.take(file.files[0]);
      file.value = "";
    });
    element("record").addEventListener("click", () => void this.toggleRecording());
    for (const name of ["speech", "music"]) {
      element(name).addEventListener("click", () => void this.sample(name));
    }
    element("play").addEventListener("click", () => this.toggle());
    this.seekBar.addEventListener("input", () => this.player?.seek(Number(this.seekBar.value) * this.rate));
    this.seekBar.addEventListener("pointerdown", () => (this.dragging = true));
    window.addEventListener("pointerup", () => (this.dragging = false));
    element("pictures").addEventListener("click", (event) => {
      const { left, width } = element("pictures").getBoundingClientRect();
      if (this.open?.length) this.player!.seek(((event.clientX - left) / width) * this.open.length);
    });
    document.addEventListener("keydown", (event) => this.key(event));
    this.listenForDrops();
  }

  private listenForDrops(): void {
    const drop = element("drop");
    for (const kind of ["dragenter", "dragover"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    document.addEventListener("dragleave", () => drop.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const files = event.dataTransfer?.files;
      if (files?.length === 1) void this.take(files[0]);
      else this.complain("drop one file");
    });
  }

  private toggle(): void {
    if (this.player?.playing) this.player.pause();
    else this.player?.play();
  }

  private key(event: KeyboardEvent): void {
    const { open, player } = this;
    if (!open || !player || event.ctrlKey || event.altKey || event.metaKey) return;
    const target = event.target as HTMLElement;
    // What has the focus takes some of the keys itself; the position's own steps are too short.
    const taker = event.key === " " ? "BUTTON" : "INPUT";
    const own = target.tagName === taker && target !== this.seekBar;
    const digit = "01234".indexOf(event.key);
    if (digit === 0) this.choose(0);
    else if (digit > 0) this.choose(open.variants[digit - 1]?.codebooks ?? -1);
    else if (own) return;
    else if (event.key === " ") this.toggle();
    else if (event.key === "ArrowLeft") player.seek(player.position - STEP * this.rate);
    else if (event.key === "ArrowRight") player.seek(player.position + STEP * this.rate);
    else return;
    event.preventDefault();
  }
}

function checkSeconds(seconds: number): void {
  if (seconds > MOST_SECONDS) throw new Error(`it is longer than ${MOST_SECONDS / 60} minutes; acomp encodes it`);
}

/** Samples that this page takes. */
function checked(samples: Float32Array[], rate: number): Float32Array[] {
  const seconds = (samples[0]?.length ?? 0) / rate;
  if (!seconds) throw new Error("there is no sound in it");
  checkSeconds(seconds);
  if (samples.length > MOST_CHANNELS) throw new Error(`it has more than ${MOST_CHANNELS} channels`);
  return samples;
}

function link(url: string, name: string): HTMLElement {
  const made = document.createElement("a");
  Object.assign(made, { href: url, download: name, textContent: ".nac", title: name });
  return made;
}

function stem(name: string): string {
  return name.replace(/\.[^.]*$/, "");
}

function times({ seconds, took }: { seconds: number; took: number }): string {
  const speed = seconds / took;
  return `${speed.toFixed(speed < 10 ? 1 : 0)} × real time`;
}

function clock(seconds: number): string {
  const whole = Math.max(0, seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${(whole - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** With a capital letter and a full stop. */
function sentence(text: string): string {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!]$/.test(text) ? "" : "."}`;
}

new Page();
