/** Reads stretches of a `.nac` file by its index: only the bytes that they take. */

import type { LanguageModel } from "./entropy";
import { NacError } from "./errors";
import {
  blockSize,
  CONTINUES,
  type Entry,
  INDEX_TAIL,
  indexSizeAt,
  isPlausible,
  LAST,
  MAX_METADATA,
  type NacInfo,
  readIndex,
  view,
} from "./layout";
import { NacReader, type NacFrames } from "./nac";

/** Gives the bytes of a file from `begin` to before `end`: `Blob.slice`, a range of HTTP, an array. */
export type ReadBytes = (begin: number, end: number) => Promise<Uint8Array>;

/** A file of version 1 or 2 that can be read from any frame on. */
export class NacSeeker {
  readonly info: NacInfo;
  /** Samples per channel at `source_rate`. */
  readonly length: number;
  readonly frames: number;

  private readonly entries: Entry[];
  private readonly sizes: number[];

  private constructor(
    private readonly readBytes: ReadBytes,
    private readonly size: number,
    private readonly header: Uint8Array,
    index: Uint8Array,
    private readonly model: LanguageModel | null,
  ) {
    const version = header[3];
    this.info = this.reader().info!;
    const { entries, length } = readIndex(index, version);
    this.entries = entries;
    this.length = length;
    this.frames = entries.reduce((sum, entry) => sum + entry.frames, 0);
    this.sizes = entries.map((entry) => blockSize(this.info, version, entry));
    const whole = entries.every((entry, n) => {
      const last = n === entries.length - 1;
      return isPlausible(this.info, version, entry) && (entry.flags & LAST) > 0 === last;
    });
    const bytes = this.sizes.reduce((sum, each) => sum + each, header.length + index.length);
    if (!whole || bytes !== size) throw new NacError("the index does not fit the file");
  }

  /** Reads the header and the index of a file of so many bytes. */
  static async open(
    size: number,
    readBytes: ReadBytes,
    model: LanguageModel | null = null,
  ): Promise<NacSeeker> {
    const start = await readBytes(0, Math.min(9, size));
    if (start.length < 9) throw new NacError("cut short");
    if (start[3] === 0) throw new NacError("version 0 has no index");
    const metadata = view(start).getUint32(4);
    if (metadata > MAX_METADATA) throw new NacError("the metadata is too long");
    const header = await readBytes(0, Math.min(13 + metadata, size));
    const tail = await readBytes(Math.max(0, size - INDEX_TAIL), size);
    const most = size - header.length;
    const index = await readBytes(size - Math.min(indexSizeAt(tail, start[3]), most), size);
    return new NacSeeker(readBytes, size, header, index, model);
  }

  /** The blocks from that on which a frame is in: the first may begin before the frame. */
  async *blocks(frame = 0): AsyncGenerator<NacFrames> {
    const begin = this.entrance(frame);
    const reader = this.reader();
    reader.skip(this.entries.slice(0, begin));
    let at = this.sizes.slice(0, begin).reduce((sum, each) => sum + each, this.header.length);
    for (const size of this.sizes.slice(begin)) {
      for (const block of reader.push(await this.readBytes(at, at + size))) {
        if (block.first + block.frames > frame) yield block;
      }
      at += size;
    }
    reader.push(await this.readBytes(at, this.size));
    reader.end();
  }

  /** The last block that does not go on from another, from which on a frame can be read. */
  private entrance(frame: number): number {
    let [found, first] = [0, 0];
    this.entries.forEach((entry, n) => {
      if (first <= frame && !(entry.flags & CONTINUES)) found = n;
      first += entry.frames;
    });
    return found;
  }

  private reader(): NacReader {
    const reader = new NacReader(this.model);
    reader.push(this.header);
    if (!reader.info) throw new NacError("cut short");
    return reader;
  }
}
