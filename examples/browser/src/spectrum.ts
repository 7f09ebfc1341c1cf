/** Levels of spectrograms. */

import { ROWS } from "./messages";

const SIZE = 512;
/** Of a row. */
const BINS = SIZE / 2 / ROWS;
/** What a level of 0 stands for, in dB below full scale; 255 is 0 dB. */
const FLOOR = 100;

const WINDOW = Float64Array.from({ length: SIZE }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE));
const COSINES = Float64Array.from({ length: SIZE / 2 }, (_, n) => Math.cos((2 * Math.PI * n) / SIZE));
const SINES = Float64Array.from({ length: SIZE / 2 }, (_, n) => -Math.sin((2 * Math.PI * n) / SIZE));
const REVERSED = Uint16Array.from({ length: SIZE }, (_, n) => {
  let reversed = 0;
  for (let bit = 1; bit < SIZE; bit *= 2) reversed = 2 * reversed + (n & bit ? 1 : 0);
  return reversed;
});

/** The spectrum around each of some places, `[place][row]`, of what all channels have in common. */
export function levelsAt(channels: Float32Array[], places: number[]): Uint8Array {
  const levels = new Uint8Array(places.length * ROWS);
  const length = channels[0].length;
  const [real, imaginary] = [new Float64Array(SIZE), new Float64Array(SIZE)];
  places.forEach((place, column) => {
    const first = Math.max(0, Math.min(place - SIZE / 2, length - SIZE));
    for (let n = 0; n < SIZE; n++) {
      let sum = 0;
      for (const channel of channels) sum += channel[first + n] ?? 0;
      real[REVERSED[n]] = (sum / channels.length) * WINDOW[n];
    }
    imaginary.fill(0);
    transform(real, imaginary);
    for (let row = 0; row < ROWS; row++) {
      let power = 1e-20;
      for (let bin = BINS * row; bin < BINS * (row + 1); bin++) {
        power = Math.max(power, real[bin] ** 2 + imaginary[bin] ** 2);
      }
      // A sine of full scale has a quarter of the window's length as its amplitude.
      const decibels = 10 * Math.log10(power) - 20 * Math.log10(SIZE / 4);
      levels[column * ROWS + row] = Math.max(0, Math.min(255, 255 * (1 + decibels / FLOOR)));
    }
  });
  return levels;
}

/** Fast Fourier transform in place, of what stands in bit-reversed order. */
function transform(real: Float64Array, imaginary: Float64Array): void {
  for (let half = 1; half < SIZE; half *= 2) {
    const step = SIZE / (2 * half);
    for (let begin = 0; begin < SIZE; begin += 2 * half) {
      for (let n = 0; n < half; n++) {
        const [low, high] = [begin + n, begin + n + half];
        const [cosine, sine] = [COSINES[n * step], SINES[n * step]];
        const x = real[high] * cosine - imaginary[high] * sine;
        const y = real[high] * sine + imaginary[high] * cosine;
        [real[high], imaginary[high]] = [real[low] - x, imaginary[low] - y];
        real[low] += x;
        imaginary[low] += y;
      }
    }
  }
}
