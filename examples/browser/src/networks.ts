/** nano's networks, as `acomp export nano --streaming` writes them, on one thread of WebAssembly. */

import * as ort from "onnxruntime-web/wasm";

interface Port {
  name: string;
  dtype: "float32" | "int64";
  shape: (string | number)[];
}

interface Model {
  file: string;
  inputs: Port[];
  outputs: Port[];
  /** Outputs that are the next call's inputs. */
  state: Record<string, string>;
}

/** codec.json. */
export interface Card {
  codec: string;
  weights: string;
  sample_rate: number;
  hop_length: number;
  frame_rate: number;
  codebooks: number;
  codebook_size: number;
  external_data: string;
  models: { encoder: Model; decoder: Model };
}

/** The encoder's outputs of codes, each with its number of codebooks. */
export function codesOutputs(card: Card): [string, number][] {
  const ports = card.models.encoder.outputs.filter((port) => port.name.startsWith("codes"));
  return ports.map((port) => [port.name, Number(port.shape[1])]);
}

export type State = Record<string, ort.Tensor>;

/** The folder of an export. */
export class Folder {
  private constructor(
    private readonly path: string,
    readonly card: Card,
    private readonly weights: Uint8Array,
  ) {}

  static async open(path: string): Promise<Folder> {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { wasm: "ort-wasm-simd-threaded.wasm" };
    const card = JSON.parse(new TextDecoder().decode(await fetchBytes(`${path}/codec.json`))) as Card;
    return new Folder(path, card, await fetchBytes(`${path}/${card.external_data}`));
  }

  async network(name: "encoder" | "decoder"): Promise<Network> {
    const model = this.card.models[name];
    const graph = await fetchBytes(`${this.path}/${model.file}`);
    const session = await ort.InferenceSession.create(graph, {
      executionProviders: ["wasm"],
      externalData: [{ path: this.card.external_data, data: this.weights }],
    });
    return new Network(session, model);
  }
}

/** Frames behind that of a hop's beginning with which the hop comes out. */
export const LATE = 2;

export class Network {
  constructor(
    private readonly session: ort.InferenceSession,
    private readonly model: Model,
  ) {}

  /** Frames before a frame that the hop which it completes depends on; a hop is sharpened with the one before it. */
  get memory(): number {
    const past = this.model.inputs.filter((port) => port.name.startsWith("past_"));
    return past.reduce((sum, port) => sum + Number(port.shape[1]), 1 + LATE);
  }

  /** The state before the first frame. */
  start(batch: number): State {
    const state: State = {};
    for (const { name, shape } of this.model.inputs.slice(1)) {
      const sizes = [batch, ...shape.slice(1).map(Number)];
      const values = new Float32Array(sizes.reduce((product, size) => product * size));
      state[name] = new ort.Tensor("float32", values, sizes);
    }
    return state;
  }

  /** Runs on what comes next; the state goes on. */
  async run(input: ort.Tensor, state: State): Promise<Record<string, ort.Tensor>> {
    const results = await this.session.run({ ...state, [this.model.inputs[0].name]: input });
    for (const [after, before] of Object.entries(this.model.state)) state[before] = results[after];
    return results;
  }
}

export async function fetchBytes(url: string): Promise<Uint8Array> {
  const answer = await fetch(url).catch(() => {
    throw new Error(`${url} could not be fetched`);
  });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}
