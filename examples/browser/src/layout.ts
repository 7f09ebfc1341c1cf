/** How the bytes of `.nac` are laid out: bounds, headers of blocks and the index. */

import { NacError } from "./errors";

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
  loudness?: number[] | null;
  chunk?: number | null;
  /** Fingerprint of the language model that a file of version 2 is coded with. */
  language_model?: string | null;
}

/** The header of a block, of which the index has a copy. */
export interface Entry {
  flags: number;
  frames: number;
  segment: number;
  /** Bytes of the coded codes; 0 in version 1. */
  coded: number;
}

export const MAX_METADATA = 65536;
export const MAX_BLOCK = 16777216;
export const MAX_BLOCKS = 16777216;
export const MAX_FRAMES = 4294967295;
export const MAX_LENGTH = 2 ** 48;
/** Bytes of the index behind its entries. */
export const INDEX_TAIL = 20;
export const LAST = 1;
export const CONTINUES = 2;
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

export function view(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** Bytes of a whole block, whose header is plausible. */
export function blockSize(info: NacInfo, version: number, entry: Entry): number {
  const scales = 4 * countSegments(entry);
  if (version === 2) return 13 + scales + 4 + entry.coded + 4;
  const bits = entry.frames * info.streams * info.codebooks * bitsOf(info);
  return 9 + scales + Math.ceil(bits / 8) + 4;
}

export function countSegments({ frames, segment }: Entry): number {
  return segment ? Math.ceil(frames / segment) : 0;
}

/** Whether there can be such a block. */
export function isPlausible(info: NacInfo, version: number, entry: Entry): boolean {
  const { flags, frames, segment, coded } = entry;
  if (segment > frames) return false;
  if (!frames) return flags === LAST && coded === 0;
  if (version === 1) return flags <= LAST;
  const most = Math.max(1, Math.floor(MAX_CODED_SEQUENCES / info.streams));
  return flags <= LAST + CONTINUES && frames <= MAX_CODED_FRAMES && countSegments(entry) <= most;
}

export function checkCrc(data: Uint8Array, what: string): void {
  const size = data.length - 4;
  if (crc32(data.subarray(0, size)) !== view(data).getUint32(size)) {
    throw new NacError(`${what} is damaged (CRC)`);
  }
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

export function infoOf(metadata: unknown): NacInfo {
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
  if (!isText(info.codec, /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/)) {
    throw new NacError("codec is not the name of a codec");
  }
  if (info.fingerprint === undefined) throw new NacError("the metadata lacks fingerprint");
  for (const key of ["fingerprint", "language_model"] as const) {
    if ((info[key] ?? null) !== null && !isText(info[key], /^[0-9a-f]{16}$/)) {
      throw new NacError(`${key} is not 16 hexadecimal digits`);
    }
  }
  const { loudness, chunk } = info;
  if (loudness != null && !isLoudness(loudness, info.channels)) {
    throw new NacError("loudness is not a number from -200 to 200 for each channel");
  }
  if (chunk != null && !(Number.isInteger(chunk) && chunk >= 1 && chunk <= 2 ** 32)) {
    throw new NacError("chunk is out of bounds");
  }
  return info;
}

/** Whether a value is such a text: a regular expression makes one of anything. */
function isText(value: unknown, form: RegExp): boolean {
  return typeof value === "string" && form.test(value);
}

function isLoudness(loudness: unknown, channels: number): boolean {
  const within = (value: unknown) => typeof value === "number" && Math.abs(value) <= 200;
  return Array.isArray(loudness) && loudness.length === channels && loudness.every(within);
}

export function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes the CRC-32 of what is before `at` there. */
export function sealed(data: Uint8Array, at: number): Uint8Array {
  view(data).setUint32(at, crc32(data.subarray(0, at)));
  return data;
}

/** Bytes of an entry of the index. */
function entryWidth(version: number): number {
  return version === 2 ? 9 : 4;
}

export function entriesBytes(entries: Entry[], version: number): Uint8Array {
  const width = entryWidth(version);
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

/** The length and the blocks that an index names; `data` ends with it. */
export function readIndex(data: Uint8Array, version: number): { entries: Entry[]; length: number } {
  const size = indexSizeAt(data, version);
  if (data.length < size) throw new NacError("the index at the end is damaged, or cut short");
  const index = data.subarray(data.length - size);
  checkCrc(index.subarray(0, size - 4), "the index");
  const at = view(index);
  const length = at.getBigUint64(size - 20);
  if (length > BigInt(MAX_LENGTH)) throw new NacError("the length is out of bounds");
  const width = entryWidth(version);
  const entries = Array.from({ length: (size - 20) / width }, (_, n) => {
    const place = n * width + (version === 2 ? 1 : 0);
    return {
      flags: version === 2 ? index[n * width] : 0,
      frames: at.getUint16(place),
      segment: at.getUint16(place + 2),
      coded: version === 2 ? at.getUint32(place + 4) : 0,
    };
  });
  if (version === 1) entries[entries.length - 1].flags = LAST;
  return { entries, length: Number(length) };
}

/** Bytes of the index of so many blocks. */
export function indexSize(blocks: number, version: number): number {
  return blocks * entryWidth(version) + INDEX_TAIL;
}

/** Bytes of the index, which the last 20 bytes of a file tell. */
export function indexSizeAt(data: Uint8Array, version: number): number {
  if (data.length < INDEX_TAIL) throw new NacError("the index at the end is cut short");
  const tail = data.subarray(data.length - INDEX_TAIL);
  if (String.fromCharCode(...tail.subarray(16)) !== "NACE") {
    throw new NacError("the file does not end with an index: it is cut short or damaged");
  }
  const count = view(tail).getUint32(8);
  if (!count || count > MAX_BLOCKS) throw new NacError("the index names no blocks, or too many");
  return indexSize(count, version);
}

export function indexBytes(entries: Entry[], version: number, length: number): Uint8Array {
  const named = entriesBytes(entries, version);
  const data = new Uint8Array(named.length + INDEX_TAIL);
  const at = view(data);
  data.set(named);
  at.setBigUint64(data.length - 20, BigInt(length));
  at.setUint32(data.length - 12, entries.length);
  data.set([0x4e, 0x41, 0x43, 0x45], data.length - 4);
  return sealed(data, data.length - 8);
}
