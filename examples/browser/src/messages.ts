/** What the page and its worker say to each other. Variant 0 is the original, others are named by their codebooks. */

export type Request =
  | { kind: "encode"; id: number; samples: Float32Array[] }
  | { kind: "open"; id: number; file: File }
  /** A second of sound is needed. */
  | { kind: "want"; id: number; variant: number; index: number }
  /** The whole of a variant is wanted, for its spectrogram, whenever there is nothing else to do. */
  | { kind: "look"; id: number; variant: number };

export interface Variant {
  codebooks: number;
  kbps: number;
}

export type Report =
  | { kind: "loaded"; codec: string; sampleRate: number; variants: Variant[] }
  | { kind: "opened"; id: number; channels: number; variants: Variant[]; original: boolean }
  /** How many frames there are by now, and how many seconds the work on them took. */
  | { kind: "frames"; id: number; seconds: number; took: number }
  /** Samples in all, and how many columns the spectrograms have. */
  | { kind: "length"; id: number; samples: number; columns: number }
  | { kind: "sound"; id: number; variant: number; index: number; samples: Float32Array[] }
  | { kind: "columns"; id: number; variant: number; first: number; levels: Uint8Array }
  /** Sound that was decoded and how long that took, in seconds. */
  | { kind: "decoded"; id: number; variant: number; seconds: number; took: number }
  | { kind: "file"; id: number; variant: number; data: Uint8Array }
  | { kind: "problem"; id: number | null; text: string };

/** Seconds of sound that are asked for and decoded at a time. */
export const PIECE_SECONDS = 1;
/** Levels of a column of a spectrogram, from 0 Hz up. */
export const ROWS = 128;
