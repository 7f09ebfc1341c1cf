/** Spectrograms on canvases, in the colours of the page. */

import { ROWS } from "./messages";

/** Levels below the first are the background, above the second all alike. */
const [DARKEST, BRIGHTEST] = [50, 225];
const DARK = ["#0b0d12", "#2b1a5c", "#7a2680", "#cf4a5f", "#f99d3a", "#fdf3b0"];
const LIGHT = ["#ffffff", "#d3e3f0", "#8fbbdb", "#3f82bd", "#1b4a8c", "#0a1d47"];

export class Picture {
  private readonly levels: Uint8Array;
  private readonly scheme = window.matchMedia("(prefers-color-scheme: dark)");
  private readonly drawAll = () => this.draw(0, this.columns);

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly columns: number,
  ) {
    this.levels = new Uint8Array(columns * ROWS);
    canvas.width = columns;
    canvas.height = ROWS;
    this.scheme.addEventListener("change", this.drawAll);
    this.drawAll();
  }

  /** Takes the place of what the canvas had. */
  close(): void {
    this.scheme.removeEventListener("change", this.drawAll);
  }

  put(first: number, levels: Uint8Array): void {
    const count = Math.min(levels.length / ROWS, this.columns - first);
    if (count <= 0) return;
    this.levels.set(levels.subarray(0, count * ROWS), first * ROWS);
    this.draw(first, count);
  }

  private draw(first: number, count: number): void {
    const colours = this.scheme.matches ? colourTable(DARK) : colourTable(LIGHT);
    const context = this.canvas.getContext("2d")!;
    const image = context.createImageData(count, ROWS);
    const pixels = new Uint32Array(image.data.buffer);
    for (let column = 0; column < count; column++) {
      for (let row = 0; row < ROWS; row++) {
        const level = this.levels[(first + column) * ROWS + row];
        pixels[(ROWS - 1 - row) * count + column] = colours[level];
      }
    }
    context.putImageData(image, first, 0);
  }
}

/** The colour of each level, as a pixel. */
function colourTable(stops: string[]): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const share = Math.max(0, Math.min(1, (level - DARKEST) / (BRIGHTEST - DARKEST)));
    const place = share * (stops.length - 1);
    const n = Math.min(Math.floor(place), stops.length - 2);
    const mixed = [1, 3, 5].map((at) => {
      const [low, high] = [stops[n], stops[n + 1]].map((stop) => parseInt(stop.slice(at, at + 2), 16));
      return Math.round(low + (high - low) * (place - n));
    });
    return (255 << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0];
  });
}
