/** Reads and writes `.nac`, after docs/nac.md. Nothing here is node's or the DOM's. */

import { BlockCoder, RUN_FRAMES, type LanguageModel } from "./entropy";
import { NacError } from "./errors";
import { rint } from "./exact";
import { parseJson } from "./json";
import {
  bitsOf,
  blockSize,
  checkCrc,
  CONTINUES,
  countSegments,
  crc32,
  entriesBytes,
  indexBytes,
  indexSize,
  infoOf,
  isPlausible,
  joined,
  LAST,
  MAX_BLOCK,
  MAX_BLOCKS,
  MAX_FRAMES,
  MAX_LENGTH,
  MAX_METADATA,
  readIndex,
  sealed,
  view,
  type Entry,
  type NacInfo,
} from "./layout";

export { bitsOf, crc32, NacError, type NacInfo };

const VERSION_0_FRAMES = 100;

/** Frames that follow each other: codes `[frame][stream][codebook]` in one array. */
export interface NacFrames {
  /** Number of the first frame, counted from 0. */
  first: number;
  frames: number;
  codes: Uint16Array;
  /** Frames and scale of each segment, of codecs that have such. */
  segments: { frames: number; scale: number }[];
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
    this.hold(bytes);
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

  /** Goes on, behind the header, with the block behind these. */
  skip(entries: Entry[]): void {
    this.entries = [...entries];
    this.frames = entries.reduce((sum, entry) => sum + entry.frames, 0);
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

  /** Appends to what is held; there is room left for more, as files may come in many small pieces. */
  private hold(bytes: Uint8Array): void {
    const { held } = this;
    const size = held.length + bytes.length;
    if (held.byteOffset + size > held.buffer.byteLength) {
      this.held = new Uint8Array(Math.max(size, 2 * held.length));
      this.held.set(held);
    }
    this.held = new Uint8Array(this.held.buffer, this.held.byteOffset, size);
    this.held.set(bytes, held.length);
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
    if (this.version === 2 && (this.info.language_model ?? null) === null) {
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
    const size = indexSize(this.entries.length, this.version);
    if (this.held.length < size) return;
    const index = this.drop(size);
    const { entries, length } = readIndex(index, this.version);
    const named = entries.length === this.entries.length;
    const blocks = entriesBytes(this.entries, this.version);
    if (!named || !blocks.every((byte, n) => byte === index[n])) {
      throw new NacError("the index does not fit the blocks");
    }
    this.length = length;
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

