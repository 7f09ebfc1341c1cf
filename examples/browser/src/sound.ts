/** Files and microphones to samples at one rate, by what the browser has for that. */

/** The samples of an audio file, of each channel. */
export async function samplesOf(file: Blob, rate: number): Promise<Float32Array[]> {
  const context = new OfflineAudioContext(1, 1, rate);
  const bytes = await file.arrayBuffer();
  const buffer = await context.decodeAudioData(bytes).catch(() => {
    throw new Error("this browser reads no sound in it");
  });
  return channelsOf(buffer);
}

/** What an audio file says of its length, which takes none of the memory that its samples would; 0 if it says nothing. */
export function secondsOf(file: Blob): Promise<number> {
  const url = URL.createObjectURL(file);
  const audio = new Audio();
  audio.preload = "metadata";
  return new Promise<number>((resolve) => {
    audio.onloadedmetadata = () => resolve(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => resolve(0);
    audio.src = url;
  }).finally(() => {
    audio.removeAttribute("src");
    URL.revokeObjectURL(url);
  });
}

function channelsOf(buffer: AudioBuffer): Float32Array[] {
  return Array.from({ length: buffer.numberOfChannels }, (_, n) => buffer.getChannelData(n).slice());
}

/** A microphone that is recorded, in one channel. */
export class Recorder {
  private constructor(
    private readonly context: AudioContext,
    private readonly stream: MediaStream,
    private readonly blocks: Float32Array[],
  ) {}

  static async start(): Promise<Recorder> {
    if (!navigator.mediaDevices) throw new Error("recording takes a page from https or localhost");
    const wanted = { channelCount: 1, echoCancellation: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted }).catch(() => {
      throw new Error("the microphone was not given");
    });
    // At the rate of the microphone: not every browser converts it.
    const context = new AudioContext();
    await context.audioWorklet.addModule("recorder.js");
    const node = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
    const blocks: Float32Array[] = [];
    node.port.onmessage = ({ data }) => blocks.push(data);
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    return new Recorder(context, stream, blocks);
  }

  get seconds(): number {
    const size = this.blocks.reduce((sum, block) => sum + block.length, 0);
    return size / this.context.sampleRate;
  }

  /** Ends the recording and gives its samples. */
  async stop(rate: number): Promise<Float32Array[]> {
    for (const track of this.stream.getTracks()) track.stop();
    const length = this.blocks.reduce((sum, block) => sum + block.length, 0);
    const from = this.context.sampleRate;
    await this.context.close();
    if (!length) throw new Error("the microphone gave no sound");
    const buffer = new AudioBuffer({ length, sampleRate: from });
    let at = 0;
    for (const block of this.blocks) {
      buffer.copyToChannel(block as Float32Array<ArrayBuffer>, 0, at);
      at += block.length;
    }
    const offline = new OfflineAudioContext(1, Math.ceil((length * rate) / from), rate);
    const node = new AudioBufferSourceNode(offline, { buffer });
    node.connect(offline.destination);
    node.start();
    return channelsOf(await offline.startRendering());
  }
}
