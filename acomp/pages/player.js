// Clips of the same sound that run in step: changing what is heard never changes the position.
//
// All clips play at once from one instant of one clock, and gains let one of them through, so a
// change is heard at once and where the sound is. The audio is in the page, as base64 of FLAC.

"use strict";

const FADE = 0.01; // seconds from one clip to the next: a plain cut would click

class Player {
  // clips: [{id, flac, gain}]; onchange is called when anything but the position changes.
  constructor(clips, onchange) {
    this.clips = clips;
    this.onchange = onchange;
    this.selected = clips[0].id;
    this.playing = false;
    this.loop = null; // [begin, end] in seconds, or null for the whole
    this.duration = 0;
    this.offset = 0; // where it stands while it is not playing
    this.began = null; // the clock's time at which the clips started from `offset`
    this.voices = [];
    this.loading = null;
  }

  // Decodes the clips; the browser makes no sound before the user has clicked or pressed a key.
  load() {
    this.loading = this.loading || this.decode();
    return this.loading;
  }

  async decode() {
    this.context = sharedContext();
    const decode = (clip) => this.context.decodeAudioData(bytesOf(clip.flac).buffer);
    this.buffers = await Promise.all(this.clips.map(decode));
    this.duration = Math.min(...this.buffers.map((buffer) => buffer.duration));
  }

  get span() {
    return this.loop || [0, this.duration];
  }

  get position() {
    if (this.began === null) return this.offset;
    const [begin, end] = this.span;
    const at = this.offset + Math.max(0, this.context.currentTime - this.began);
    return at < end ? at : begin + ((at - begin) % (end - begin));
  }

  async play() {
    if (this.playing) return;
    this.playing = true; // at once, so that a pause while it loads is heeded
    this.onchange();
    try {
      const resumed = sharedContext().resume(); // while it is still the user's click that asks
      await Promise.all([this.load(), resumed]);
    } catch (error) {
      this.pause();
      throw error;
    }
    if (!this.playing || this.began !== null) return;
    const [begin, end] = this.span;
    if (this.offset < begin || this.offset >= end) this.offset = begin;
    this.began = this.context.currentTime + 0.02; // so that all clips are ready at that instant
    this.voices = this.clips.map((clip, index) => this.start(clip, this.buffers[index]));
  }

  start(clip, buffer) {
    const source = new AudioBufferSourceNode(this.context, { buffer, loop: true });
    [source.loopStart, source.loopEnd] = this.span;
    const gain = new GainNode(this.context, { gain: this.level(clip) });
    source.connect(gain).connect(this.context.destination);
    source.start(this.began, this.offset);
    return { source, gain };
  }

  level(clip) {
    return clip.id === this.selected ? clip.gain : 0;
  }

  pause() {
    if (!this.playing) return;
    this.offset = this.position;
    this.began = null;
    for (const voice of this.voices) voice.source.stop();
    this.voices = [];
    this.playing = false;
    this.onchange();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  select(id) {
    this.selected = id;
    this.voices.forEach((voice, index) => {
      const target = this.level(this.clips[index]);
      voice.gain.gain.setTargetAtTime(target, this.context.currentTime, FADE / 3);
    });
    this.onchange();
  }

  seek(seconds) {
    this.restart(() => { this.offset = Math.min(Math.max(0, seconds), this.duration); });
  }

  // Repeats [begin, end], or the whole with null.
  repeat(loop) {
    this.restart(() => { this.loop = loop; });
  }

  restart(change) {
    const wasPlaying = this.playing;
    this.pause();
    change();
    if (wasPlaying) this.play();
    else this.onchange();
  }
}

let context = null;

function sharedContext() {
  context = context || new AudioContext({ latencyHint: "interactive" });
  return context;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
