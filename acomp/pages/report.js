// The players of a report: one at a time is heard, and one at a time has the keys.

"use strict";

const STEP = 1; // seconds that an arrow key moves

class View {
  constructor(element) {
    this.element = element;
    this.find = (selector) => element.querySelector(selector);
    this.buttons = [...element.querySelectorAll(".version")];
    this.pictures = [...element.querySelectorAll(".spectrogram")];
    this.cursors = [...element.querySelectorAll(".cursor")];
    this.length = Number(element.dataset.duration);
    this.ids = this.clips.map((clip) => clip.id);
    this.player = new Player(this.clips, () => this.show());
    this.listen();
    this.show();
  }

  get clips() {
    return JSON.parse(this.find("script").textContent);
  }

  listen() {
    this.element.addEventListener("focusin", () => this.take());
    this.element.addEventListener("pointerdown", () => this.take());
    this.find(".play").addEventListener("click", () => this.toggle());
    this.find(".seek").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    this.find(".from").addEventListener("click", () => this.loop(this.player.position, null));
    this.find(".to").addEventListener("click", () => this.loop(null, this.player.position));
    this.find(".whole").addEventListener("click", () => this.player.repeat(null));
    this.buttons.forEach((button, index) => {
      button.addEventListener("click", () => this.player.select(this.ids[index]));
    });
    this.pictures.forEach((picture, index) => {
      picture.addEventListener("click", (event) => {
        this.player.select(this.ids[index]);
        const box = picture.getBoundingClientRect();
        // A click by the keyboard has no place.
        if (event.detail) this.seek((this.length * (event.clientX - box.left)) / box.width);
      });
    });
  }

  // Gets the keys.
  take() {
    for (const view of views) view.element.classList.toggle("current", view === this);
    current = this;
  }

  async attempt(action) {
    try {
      await action();
    } catch (error) {
      this.find(".problem").textContent = `This browser cannot play it: ${error.message}`;
    }
  }

  toggle() {
    for (const view of views) if (view !== this) view.player.pause();
    return this.attempt(() => this.player.toggle());
  }

  seek(seconds) {
    return this.attempt(async () => {
      await this.player.load();
      this.player.seek(seconds);
    });
  }

  // Repeats a section; null is the end that it has already.
  loop(begin, end) {
    return this.attempt(async () => {
      await this.player.load();
      const [first, last] = this.player.span;
      const from = begin ?? first;
      const to = end ?? last;
      if (to - from >= SHORTEST) this.player.repeat([from, to]);
      else this.player.repeat(begin === null ? [0, to] : [from, this.player.duration]);
    });
  }

  // The version that is `by` further on in the list.
  change(by) {
    const at = this.ids.indexOf(this.player.selected);
    this.choose((at + by + this.ids.length) % this.ids.length);
  }

  choose(index) {
    if (index >= this.ids.length) return;
    // The focus goes along where it was on a version: or Enter would choose the one before again.
    for (const list of [this.buttons, this.pictures]) {
      if (list.includes(document.activeElement)) list[index].focus();
    }
    this.player.select(this.ids[index]);
  }

  show() {
    const { playing, selected, loop } = this.player;
    this.find(".play").textContent = playing ? "Pause" : "Play";
    this.ids.forEach((id, index) => {
      const pressed = String(id === selected);
      this.buttons[index].setAttribute("aria-pressed", pressed);
      this.pictures[index].setAttribute("aria-pressed", pressed);
    });
    this.find(".whole").setAttribute("aria-pressed", String(!loop));
    const section = this.find(".section");
    section.hidden = !loop;
    if (loop) {
      section.style.left = `${(100 * loop[0]) / this.length}%`;
      section.style.width = `${(100 * (loop[1] - loop[0])) / this.length}%`;
    }
    this.move();
  }

  // Shows the position, again and again while it plays.
  move() {
    cancelAnimationFrame(this.frame);
    const at = this.player.position;
    const seek = this.find(".seek");
    seek.value = at;
    seek.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${this.length.toFixed(1)} seconds`);
    this.find(".time").textContent = `${at.toFixed(1)} / ${this.length.toFixed(1)} s`;
    for (const cursor of this.cursors) cursor.style.left = `${(100 * at) / this.length}%`;
    if (this.player.playing) this.frame = requestAnimationFrame(() => this.move());
  }

  // Whether it took the key.
  press(key) {
    if (key === " ") this.toggle();
    else if (key === "ArrowLeft") this.seek(this.player.position - STEP);
    else if (key === "ArrowRight") this.seek(this.player.position + STEP);
    else if (key === "ArrowUp") this.change(-1);
    else if (key === "ArrowDown") this.change(1);
    else if (/^[0-9]$/.test(key)) this.choose(Number(key));
    else return false;
    return true;
  }
}

// Whether the browser is to have a key that pressed where the focus is: Space on a button presses
// it. But on the version that is selected that would do nothing, and so it plays.
function isForBrowser(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return true;
  if (target !== document.body && !target.closest(".player")) return true;
  const selected = ".version[aria-pressed=true], .spectrogram[aria-pressed=true]";
  return key === " " && target.matches("button") && !target.matches(selected);
}

const SHORTEST = 0.1; // seconds of a section that is repeated
const views = [];
let current = null; // the player that was used last
for (const element of document.querySelectorAll(".player")) views.push(new View(element));

document.addEventListener("keydown", (event) => {
  if (!current || isForBrowser(event)) return;
  if (event.key === " " && event.repeat) event.preventDefault();
  else if (current.press(event.key)) event.preventDefault();
});

// A button that was clicked lets go of the focus, so that Space plays and does not press it again.
document.addEventListener("click", (event) => {
  if (event.detail && document.activeElement.matches(".player button")) document.activeElement.blur();
});
