/**
 * Sums of products of whole numbers, which are exact in any order: eight at a time by WebAssembly where
 * there is such, and one by one where not.
 */

/** From rows of whole numbers, `[rows, inputs]`, to sums, `[outputs, rows]`. */
export type Product = (whole: Int32Array, rows: number) => Int32Array;

/** What the standard library of ECMAScript does not declare. */
declare const WebAssembly: {
  Memory: new (limits: { initial: number }) => { buffer: ArrayBuffer; grow(pages: number): number };
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: Record<string, unknown> };
};

const PAGE = 65536;
const LANES = 8;
/** `npx --package wabt wat2wasm products.wat` */
const CODE =
  "0061736d01000000010a0160067f7f7f7f7f7f000208010165016d02000103020100070501016600000a" +
  "950101920102037f017b034020022106200020046a21080340fd0c000000000000000000000000000000" +
  "00210920002107034020092007fd0103002006fd000400fdba01fdae012109200641106a210620074108" +
  "6a22072008490d000b20052009fd1b002009fd1b016a2009fd1b022009fd1b036a6a360200200541046a" +
  "210520062003490d000b20082100200141016b22010d000b0b";

type Kernel = (
  weights: number,
  outputs: number,
  rows: number,
  end: number,
  inputs: number,
  sums: number,
) => void;

/** A place in memory that grows with what is put there. */
interface Scratch {
  at: number;
  size: number;
}

/** Memory that matrices lie in. */
export class Products {
  private readonly memory: { buffer: ArrayBuffer; grow(pages: number): number };
  private readonly kernel: Kernel;
  private readonly rows: Scratch = { at: 0, size: 0 };
  private readonly sums: Scratch = { at: 0, size: 0 };
  private used = 0;

  private constructor() {
    const bytes = Uint8Array.from(CODE.match(/../g)!, (hex) => parseInt(hex, 16));
    this.memory = new WebAssembly.Memory({ initial: 1 });
    const imports = { e: { m: this.memory } };
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);
    this.kernel = instance.exports.f as Kernel;
  }

  /** Null where there is no WebAssembly, or it may not be used, or does not know vectors. */
  static make(): Products | null {
    try {
      return new Products();
    } catch {
      return null;
    }
  }

  /** The product with 8-bit weights, `[outputs, inputs]`, of whole numbers of 16 bits. */
  of(weights: Int8Array, inputs: number): Product {
    const outputs = weights.length / inputs;
    const width = LANES * Math.ceil(inputs / LANES);
    const at = this.allocate(outputs * width);
    const bytes = new Int8Array(this.memory.buffer, at, outputs * width);
    for (let n = 0; n < outputs; n++) {
      bytes.set(weights.subarray(n * inputs, (n + 1) * inputs), n * width);
    }
    return (whole, rows) => {
      const from = this.reserve(this.rows, 2 * rows * width);
      const to = this.reserve(this.sums, 4 * rows * outputs);
      const numbers = new Int16Array(this.memory.buffer, from, rows * width).fill(0);
      for (let row = 0; row < rows; row++) {
        numbers.set(whole.subarray(row * inputs, (row + 1) * inputs), row * width);
      }
      this.kernel(at, outputs, from, from + 2 * rows * width, width, to);
      return new Int32Array(this.memory.buffer, to, rows * outputs);
    };
  }

  private reserve(scratch: Scratch, size: number): number {
    if (size > scratch.size) Object.assign(scratch, { at: this.allocate(size), size });
    return scratch.at;
  }

  private allocate(size: number): number {
    const at = this.used;
    this.used += 16 * Math.ceil(size / 16);
    const missing = this.used - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }
}

/** The same, of whole numbers of any size. */
export function plainProduct(weights: Int8Array, inputs: number): Product {
  const outputs = weights.length / inputs;
  return (whole, rows) => {
    const sums = new Int32Array(outputs * rows);
    for (let n = 0; n < sums.length; n++) {
      const [row, matrix] = [(n % rows) * inputs, Math.floor(n / rows) * inputs];
      let sum = 0;
      for (let k = 0; k < inputs; k++) sum += weights[matrix + k] * whole[row + k];
      sums[n] = sum;
    }
    return sums;
  };
}
