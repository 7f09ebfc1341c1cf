/** Reads and writes `.nac`, after docs/nac.md. Nothing here is node's or the DOM's. */

import { BlockCoder, RUN_FRAMES, type LanguageModel } from "./entropy";
import { NacError } from "./errors";
import { rint } from "./exact";
import { parseJson } from "./json";

export { NacError };

export interface NacInfo {
  codec: string;
  sample_rate: number;
  channels: number;
  streams: number;
  codebooks: number;
  codebook_size: number;
  hop_length: number;
  source_rate: number;
  fingerprint: string | null;
  loudness?: number[];
  chunk?: number;
  /** Fingerprint of the language model that a file of version 2 is coded with. */
  language_model?: string;
}

/** Frames that follow each other: codes `[frame][stream][codebook]` in one array. */
export interface NacFrames {
  /** Number of the first frame, counted from 0. */
  first: number;
  frames: number;
  codes: Uint16Array;
  /** Frames and scale of each segment, of codecs that have such. */
  segments: { frames: number; scale: number }[];
}

/** The header of a block, of which the index has a copy. */
interface Entry {
  flags: number;
  frames: number;
  segment: number;
  /** Bytes of the coded codes; 0 in version 1. */
  coded: number;
}

const MAX_METADATA = 65536;
const MAX_BLOCK = 16777216;
const MAX_BLOCKS = 16777216;
const MAX_FRAMES = 4294967295;
const MAX_LENGTH = 2 ** 48;
const VERSION_0_FRAMES = 100;
const LAST = 1;
const CONTINUES = 2;
const MAX_CODED_FRAMES = 1024;
const MAX_CODED_SEQUENCES = 64;

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export function crc32(data: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of data) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** Bits of a code. */
export function bitsOf(info: NacInfo): number {
  return 32 - Math.clz32(info.codebook_size - 1);
}

function view(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** Takes the bytes of a file as they come and gives the frames that are whole. */
export class NacReader {
  /** Known once the header has come. */
  info: NacInfo | null = null;
  /** Samples per channel at `source_rate`; known at the end. */
  length: number | null = null;

  private held = new Uint8Array(0);
  private version = 1;
  private state: "header" | "blocks" | "index" | "done" | "version 0" = "header";
  private frames = 0;
  private entries: Entry[] = [];
  private segmented: boolean | null = null;
  private coder: BlockCoder | null = null;
  /** Frames since coding began anew; infinite where nothing can be gone on from. */
  private context = Infinity;

  /** `model` is the language model of files of version 2. */
  constructor(private readonly model: LanguageModel | null = null) {}

  push(bytes: Uint8Array): NacFrames[] {
    const joined = new Uint8Array(this.held.length + bytes.length);
    joined.set(this.held);
    joined.set(bytes, this.held.length);
    this.held = joined;
    const found: NacFrames[] = [];
    if (this.state === "header" && !this.takeHeader()) return found;
    if (this.state === "version 0") {
      const size = (VERSION_0_FRAMES * this.info!.codebooks * 10) / 8;
      while (this.held.length >= size) found.push(this.takeVersion0(VERSION_0_FRAMES, size));
    }
    while (this.state === "blocks") {
      const block = this.takeBlock();
      if (block === null) break;
      if (block.frames) found.push(block);
    }
    if (this.state === "index") this.takeIndex();
    if (this.state === "done" && this.held.length) throw new NacError("bytes follow the end");
    return found;
  }

  /** The file has ended: gives what frames remain, or complains that it is cut short. */
  end(): NacFrames[] {
    if (this.state === "done") return [];
    if (this.state !== "version 0") throw new NacError("cut short");
    const rest = this.held.length;
    const frames = Math.floor((rest * 8) / (10 * this.info!.codebooks));
    if (Math.ceil((frames * this.info!.codebooks * 10) / 8) !== rest) throw new NacError("cut short");
    const found = frames ? [this.takeVersion0(frames, rest)] : [];
    this.length = this.frames * 320;
    this.state = "done";
    return found;
  }

  private drop(size: number): Uint8Array {
    const taken = this.held.subarray(0, size);
    this.held = this.held.subarray(size);
    return taken;
  }

  private takeHeader(): boolean {
    const data = this.held;
    for (let at = 0; at < Math.min(3, data.length); at++) {
      if (data[at] !== "NAC".charCodeAt(at)) throw new NacError("not a .nac file");
    }
    if (data.length < 9) return false;
    this.version = data[3];
    if (this.version > 2) throw new NacError(`version ${this.version} is not read`);
    const size = view(data).getUint32(4);
    if (size > MAX_METADATA) throw new NacError(`${size} bytes of metadata are too many`);
    const whole = 9 + size + (this.version ? 4 : 0);
    if (data.length < whole) return false;
    const head = this.drop(whole);
    if (this.version) checkCrc(head, "the header");
    const metadata = parseJson(head.subarray(9, 9 + size));
    this.info = this.version ? infoOf(metadata) : infoOfVersion0(metadata, head[8]);
    if (this.version === 2 && this.info.language_model === undefined) {
      throw new NacError("the metadata lacks language_model");
    }
    this.state = this.version ? "blocks" : "version 0";
    return true;
  }

  private takeBlock(): NacFrames | null {
    const data = this.held;
    const info = this.info!;
    const fixed = this.version === 2 ? 13 : 9;
    if (data.length < fixed) return null;
    const at = view(data);
    const first = at.getUint32(1);
    const entry = {
      flags: data[0],
      frames: at.getUint16(5),
      segment: at.getUint16(7),
      coded: this.version === 2 ? at.getUint32(9) : 0,
    };
    const size = blockSize(info, this.version, entry);
    const full = size > MAX_BLOCK || this.entries.length >= MAX_BLOCKS;
    if (first !== this.frames || full || !isPlausible(info, this.version, entry)) {
      throw new NacError(`the block at frame ${this.frames} is damaged`);
    }
    if (data.length < size) return null;
    const block = this.drop(size);
    checkCrc(block, `the block at frame ${first}`);
    const { frames, segment } = entry;
    const segments = segmentsOf(entry, block.subarray(fixed));
    if (frames && this.segmented !== null && this.segmented !== segment > 0) {
      throw new NacError("only some blocks have segments");
    }
    if (frames) this.segmented = segment > 0;
    const written = block.subarray(fixed + 4 * segments.length, size - 4);
    const codes =
      this.version === 2
        ? this.decode(written, entry, segments.map((part) => part.frames))
        : unpack(written, info, frames);
    this.entries.push(entry);
    this.frames += frames;
    if (this.frames > MAX_FRAMES) throw new NacError("too many frames");
    if (entry.flags & LAST) this.state = "index";
    return { first, frames, codes, segments };
  }

  private decode(written: Uint8Array, entry: Entry, segments: number[]): Uint16Array {
    const anew = !(entry.flags & CONTINUES);
    this.context = entry.frames + (anew ? 0 : this.context);
    if (!anew && (entry.segment || this.context > RUN_FRAMES)) {
      throw new NacError(`the block at frame ${this.frames} goes on from one that is not there`);
    }
    const lengths = segments.length ? segments : [entry.frames];
    const codes = entry.frames
      ? this.getCoder().decode(written.subarray(4), lengths, anew)
      : new Uint16Array(0);
    if (view(written).getUint32(0) !== crcOfCodes(codes)) {
      throw new NacError(`the codes at frame ${this.frames} do not come out as they went in`);
    }
    return codes;
  }

  private getCoder(): BlockCoder {
    const { info, model } = this;
    if (!model || model.fingerprint !== info!.language_model) {
      throw new NacError(`the codes are coded with the language model ${info!.language_model}`);
    }
    return (this.coder ??= coderOf(info!, model));
  }

  private takeIndex(): void {
    const width = this.version === 2 ? 9 : 4;
    const size = width * this.entries.length + 20;
    if (this.held.length < size) return;
    const index = this.drop(size);
    checkCrc(index.subarray(0, size - 4), "the index");
    const at = view(index);
    const end = String.fromCharCode(...index.subarray(size - 4));
    const entries = entriesBytes(this.entries, this.version);
    const fits = entries.every((byte, n) => byte === index[n]);
    if (!fits || at.getUint32(size - 12) !== this.entries.length || end !== "NACE") {
      throw new NacError("the index does not fit the blocks");
    }
    const length = at.getBigUint64(size - 20);
    if (length > BigInt(MAX_LENGTH)) throw new NacError("the length is out of bounds");
    this.length = Number(length);
    this.state = "done";
  }

  private takeVersion0(frames: number, size: number): NacFrames {
    const packed = this.drop(size);
    const { codebooks } = this.info!;
    const codes = new Uint16Array(frames * codebooks);
    let [value, bits, place] = [0, 0, 0];
    for (let n = 0; n < codes.length; n++) {
      for (; bits < 10; bits += 8) value |= packed[place++] << bits;
      codes[(n % frames) * codebooks + Math.floor(n / frames)] = value & 1023;
      value >>>= 10;
      bits -= 10;
    }
    if (value) throw new NacError("bits follow the codes");
    const first = this.frames;
    this.frames += frames;
    return { first, frames, codes, segments: [] };
  }
}

function coderOf(info: NacInfo, model: LanguageModel): BlockCoder {
  if (info.codebook_size !== model.codebookSize || info.codebooks > model.codebooks) {
    throw new NacError("the language model does not fit the codes");
  }
  return new BlockCoder(model, info);
}

/** Bytes of a whole block. */
function blockSize(info: NacInfo, version: number, entry: Entry): number {
  const scales = 4 * countSegments(entry);
  if (version === 2) return 13 + scales + 4 + entry.coded + 4;
  const bits = entry.frames * info.streams * info.codebooks * bitsOf(info);
  return 9 + scales + Math.ceil(bits / 8) + 4;
}

function countSegments({ frames, segment }: Entry): number {
  return segment ? Math.ceil(frames / segment) : 0;
}

function isPlausible(info: NacInfo, version: number, entry: Entry): boolean {
  const { flags, frames, segment, coded } = entry;
  if (segment > frames) return false;
  if (!frames) return flags === LAST && coded === 0;
  if (version === 1) return flags <= LAST;
  const most = Math.max(1, Math.floor(MAX_CODED_SEQUENCES / info.streams));
  return flags <= LAST + CONTINUES && frames <= MAX_CODED_FRAMES && countSegments(entry) <= most;
}

function segmentsOf(entry: Entry, data: Uint8Array): NacFrames["segments"] {
  return Array.from({ length: countSegments(entry) }, (_, n) => {
    const scale = view(data).getFloat32(4 * n);
    if (!Number.isFinite(scale)) throw new NacError("a scale is not finite");
    return { frames: Math.min(entry.segment, entry.frames - n * entry.segment), scale };
  });
}

/** CRC-32 of codes as numbers of 16 bits. */
function crcOfCodes(codes: Uint16Array): number {
  const data = new Uint8Array(2 * codes.length);
  codes.forEach((code, n) => view(data).setUint16(2 * n, code));
  return crc32(data);
}

function checkCrc(data: Uint8Array, what: string): void {
  const size = data.length - 4;
  if (crc32(data.subarray(0, size)) !== view(data).getUint32(size)) {
    throw new NacError(`${what} is damaged (CRC)`);
  }
}

function unpack(packed: Uint8Array, info: NacInfo, frames: number): Uint16Array {
  const width = bitsOf(info);
  const codes = new Uint16Array(frames * info.streams * info.codebooks);
  let [value, bits, place] = [0, 0, 0];
  for (let n = 0; n < codes.length; n++) {
    for (; bits < width; bits += 8) value = ((value & 0xffff) << 8) | packed[place++];
    bits -= width;
    codes[n] = (value >>> bits) & ((1 << width) - 1);
    if (codes[n] >= info.codebook_size) throw new NacError("a code is out of bounds");
  }
  if (value & ((1 << bits) - 1)) throw new NacError("bits follow the codes");
  return codes;
}

function infoOfVersion0(metadata: unknown, kbps: number): NacInfo {
  if (metadata !== null && typeof metadata === "object" && "codec" in metadata) {
    throw new NacError("the header is damaged: version 0 has no such metadata");
  }
  if (!kbps) throw new NacError("a bit rate of 0 kbps");
  const rates = { sample_rate: 16000, source_rate: 16000, hop_length: 320 };
  const shape = { channels: 1, streams: 1, codebooks: 2 * kbps, codebook_size: 1024 };
  return { codec: "nac0-16khz", ...rates, ...shape, fingerprint: null };
}

const BOUNDS = {
  sample_rate: [1, 1048576],
  channels: [1, 64],
  streams: [1, 64],
  codebooks: [1, 256],
  codebook_size: [2, 65536],
  hop_length: [1, 1048576],
  source_rate: [1, 1048576],
} as const;

function infoOf(metadata: unknown): NacInfo {
  if (metadata === null || typeof metadata !== "object" || Array.isArray(metadata)) {
    throw new NacError("the metadata is not a JSON object");
  }
  const info = metadata as NacInfo;
  for (const [key, [least, most]] of Object.entries(BOUNDS)) {
    const value: unknown = info[key as keyof typeof BOUNDS];
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      throw new NacError(`${key} is out of bounds`);
    }
  }
  if (info.streams !== 1 && info.streams !== info.channels) throw new NacError("streams do not fit");
  if (!/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/.test(String(info.codec))) {
    throw new NacError("codec is not the name of a codec");
  }
  if (info.fingerprint !== null && !/^[0-9a-f]{16}$/.test(String(info.fingerprint))) {
    throw new NacError("fingerprint is not 16 hexadecimal digits");
  }
  if (info.language_model !== undefined && !/^[0-9a-f]{16}$/.test(String(info.language_model))) {
    throw new NacError("language_model is not 16 hexadecimal digits");
  }
  return info;
}

export interface NacFile {
  info: NacInfo;
  blocks: NacFrames[];
  length: number;
}

/** A whole file; `model` is the language model of a file of version 2. */
export function read(data: Uint8Array, model: LanguageModel | null = null): NacFile {
  const reader = new NacReader(model);
  const blocks = [...reader.push(data), ...reader.end()];
  return { info: reader.info!, blocks, length: reader.length! };
}

/**
 * A file with these blocks, each of which follows the last: of version 1, or of version 2 where a
 * language model is given. A block has at most 65535 frames, in version 2 at most 1024 (768 are best).
 */
export function write(file: NacFile, model: LanguageModel | null = null): Uint8Array {
  const writer = new NacWriter(file.info, model);
  const empty = { first: 0, frames: 0, codes: new Uint16Array(0), segments: [] };
  const all = file.blocks.length ? file.blocks : [empty];
  const parts = all.map((block, n) => writer.block(block, n === all.length - 1));
  return joined([writer.header, ...parts, writer.end(file.length)]);
}

/** Writes a file piece by piece: its `header`, each `block` in order, and what `end` gives. */
export class NacWriter {
  readonly header: Uint8Array;

  private readonly info: NacInfo;
  private readonly coder: BlockCoder | null;
  private readonly entries: Entry[] = [];
  private frames = 0;
  private segmented: boolean | null = null;
  /** Frames since coding began anew; infinite where nothing can be gone on from. */
  private context = Infinity;

  constructor(info: NacInfo, model: LanguageModel | null = null) {
    const { language_model: _, ...rest } = info;
    this.info = infoOf(model ? { ...rest, language_model: model.fingerprint } : rest);
    this.coder = model && coderOf(this.info, model);
    this.header = headerBytes(this.info, this.version);
  }

  private get version(): number {
    return this.coder ? 2 : 1;
  }

  /** The bytes of the next block; only the last one may have no frames. */
  block(block: NacFrames, last: boolean): Uint8Array {
    const { info, version, entries } = this;
    const { frames, segments, codes } = block;
    if (entries.length && entries[entries.length - 1].flags & LAST) {
      throw new NacError("nothing can follow the last block");
    }
    if (block.first !== this.frames) throw new NacError("a block does not follow the one before");
    const segment = segments.length ? segments[0].frames : 0;
    const header = { flags: last ? LAST : 0, frames, segment, coded: 0 };
    if (codes.length !== frames * info.streams * info.codebooks || !fitsSegments(block, header)) {
      throw new NacError("a block does not have the codes or the segments of its frames");
    }
    if (frames > 65535 || !isPlausible(info, version, header)) {
      throw new NacError("a block has too many frames or segments, or none");
    }
    if (codes.some((code) => code >= info.codebook_size)) {
      throw new NacError("a code is out of bounds");
    }
    if (frames && this.segmented !== null && this.segmented !== segment > 0) {
      throw new NacError("either all blocks have segments or none has");
    }
    if (frames) this.segmented = segment > 0;
    const written = this.coder ? this.encode(this.coder, block, header) : pack(codes, info);
    this.entries.push(header);
    this.frames += frames;
    if (this.frames > MAX_FRAMES || entries.length > MAX_BLOCKS) throw new NacError("too many codes");
    return blockBytes(version, block, header, written);
  }

  /** What stands behind the last block; `length` is in samples per channel at `source_rate`. */
  end(length: number): Uint8Array {
    const { entries } = this;
    if (!entries.length || !(entries[entries.length - 1].flags & LAST)) {
      throw new NacError("the last block is missing");
    }
    if (!Number.isInteger(length) || length < 0 || length > MAX_LENGTH) {
      throw new NacError("the length is out of bounds");
    }
    return indexBytes(entries, this.version, length);
  }

  /** The CRC-32 of the codes and the coded codes; sets the flag and the size in the header. */
  private encode(coder: BlockCoder, { codes, segments }: NacFrames, header: Entry): Uint8Array {
    const { frames } = header;
    const anew = segments.length > 0 || this.context + frames > RUN_FRAMES;
    this.context = anew ? frames : this.context + frames;
    const crc = new Uint8Array(4);
    view(crc).setUint32(0, crcOfCodes(codes));
    if (!frames) return crc;
    if (!anew) header.flags |= CONTINUES;
    const lengths = segments.length ? segments.map((part) => part.frames) : [frames];
    const coded = coder.encode(codes, lengths, anew);
    header.coded = coded.length;
    return joined([crc, coded]);
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes the CRC-32 of what is before `at` there. */
function sealed(data: Uint8Array, at: number): Uint8Array {
  view(data).setUint32(at, crc32(data.subarray(0, at)));
  return data;
}

function headerBytes(info: NacInfo, version: number): Uint8Array {
  const escaped = encodeURIComponent(JSON.stringify(info));
  const text = escaped.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  if (text.length > MAX_METADATA) throw new NacError("the metadata is too long");
  const data = new Uint8Array(13 + text.length);
  data.set([0x4e, 0x41, 0x43, version]);
  view(data).setUint32(4, text.length);
  const codesPerSecond = (info.streams * info.codebooks * info.sample_rate) / info.hop_length;
  data[8] = Math.min(255, Math.max(1, rint((codesPerSecond * bitsOf(info)) / 1000)));
  for (let n = 0; n < text.length; n++) data[9 + n] = text.charCodeAt(n);
  return sealed(data, 9 + text.length);
}

function fitsSegments({ frames, segments }: NacFrames, entry: Entry): boolean {
  const whole = segments.every(
    (part, n) =>
      part.frames === Math.min(entry.segment, frames - n * entry.segment) &&
      Number.isFinite(Math.fround(part.scale)),
  );
  return whole && segments.length === countSegments(entry);
}

function blockBytes(
  version: number,
  { first, segments }: NacFrames,
  entry: Entry,
  written: Uint8Array,
): Uint8Array {
  const fixed = version === 2 ? 13 : 9;
  const packed = fixed + 4 * segments.length;
  const data = new Uint8Array(packed + written.length + 4);
  if (data.length > MAX_BLOCK) throw new NacError("a block is too large");
  const at = view(data);
  data[0] = entry.flags;
  at.setUint32(1, first);
  at.setUint16(5, entry.frames);
  at.setUint16(7, entry.segment);
  if (version === 2) at.setUint32(9, entry.coded);
  segments.forEach((part, n) => at.setFloat32(fixed + 4 * n, part.scale));
  data.set(written, packed);
  return sealed(data, data.length - 4);
}

function pack(codes: Uint16Array, info: NacInfo): Uint8Array {
  const width = bitsOf(info);
  const packed = new Uint8Array(Math.ceil((codes.length * width) / 8));
  let [value, bits, place] = [0, 0, 0];
  for (const code of codes) {
    value = ((value & 0xff) << width) | code;
    for (bits += width; bits >= 8; bits -= 8) packed[place++] = value >>> (bits - 8);
  }
  if (bits) packed[place] = value << (8 - bits);
  return packed;
}

function entriesBytes(entries: Entry[], version: number): Uint8Array {
  const width = version === 2 ? 9 : 4;
  const data = new Uint8Array(width * entries.length);
  const at = view(data);
  entries.forEach(({ flags, frames, segment, coded }, n) => {
    const place = n * width + (version === 2 ? 1 : 0);
    at.setUint16(place, frames);
    at.setUint16(place + 2, segment);
    if (version === 2) {
      at.setUint8(n * width, flags);
      at.setUint32(place + 4, coded);
    }
  });
  return data;
}

function indexBytes(entries: Entry[], version: number, length: number): Uint8Array {
  const named = entriesBytes(entries, version);
  const data = new Uint8Array(named.length + 20);
  const at = view(data);
  data.set(named);
  at.setBigUint64(data.length - 20, BigInt(length));
  at.setUint32(data.length - 12, entries.length);
  data.set([0x4e, 0x41, 0x43, 0x45], data.length - 4);
  return sealed(data, data.length - 8);
}
