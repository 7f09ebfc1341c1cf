// The listening test: a training, trials in random order, and a file of scores at the end.
//
// A trial is {file, order, scores, heard, seconds, done}. `file` says which of the page's trials it
// is, and `order` which of that trial's clips stands at each position, so that nothing in the
// visible page depends on what a signal is. Clip 0 is the reference, which is there twice: open,
// and hidden among the others.

"use strict";

const OPEN = -1; // the position of the open reference
const LETTERS = "ABCDEFGHIJKL";
const LABELS = ["Bad", "Poor", "Fair", "Good", "Excellent"];
const LEAST_HEARD = 0.5; // seconds: switching past a signal is not hearing it
const LEAST_LOOP = 0.5; // seconds
const START = -2;
const TRAINING = -1;
const COLUMNS = [
  "assessor", "test", "trial", "file", "position", "condition", "score", "seconds", "time",
];

const test = JSON.parse(find("data").textContent);
const END = test.trials.length;
const KEPT = `acomp-listen-${test.test}`;

let state = kept(); // {name, at, training, trials, downloaded}, or null before there is an assessor
let current = null; // {trial, player, rows, ticker, since, ticked} while there is something to hear

function find(id) {
  return document.getElementById(id);
}

// --- What is kept ----------------------------------------------------------------------------

function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT));
    return found && found.trials.length === END ? found : null;
  } catch {
    return null; // a browser may refuse to keep anything for a page from disk
  }
}

function keep() {
  if (current) spend();
  try {
    localStorage.setItem(KEPT, JSON.stringify(state));
  } catch {
    // Then the scores last as long as the page is open.
  }
}

function drop() {
  state = null;
  try {
    localStorage.removeItem(KEPT);
  } catch {
    // There was nothing.
  }
}

// --- The order -------------------------------------------------------------------------------

function shuffled(count) {
  const order = Array.from({ length: count }, (_, index) => index);
  const random = crypto.getRandomValues(new Uint32Array(count));
  for (let last = count - 1; last > 0; last -= 1) {
    const other = Math.floor((random[last] / 2 ** 32) * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

function newTrial(file) {
  const order = shuffled(test.trials[file].clips.length);
  const heard = order.map(() => 0);
  return { file, order, scores: order.map(() => null), heard, seconds: 0, done: null };
}

function newState(name) {
  const files = shuffled(END);
  const training = newTrial(files[0]);
  return { name, at: TRAINING, training, trials: files.map(newTrial), downloaded: false };
}

// --- Steps -----------------------------------------------------------------------------------

function show(at) {
  leave();
  if (state) {
    state.at = at;
    keep();
  }
  find("start").hidden = at !== START;
  find("listening").hidden = at < TRAINING || at === END;
  find("end").hidden = at !== END;
  find("assessor").textContent = state && at !== START ? state.name : "";
  find("progress").hidden = at === START;
  find("progress").value = Math.max(0, at) / END;
  if (at === START) welcome();
  else if (at === END) thank();
  else enter(at);
  for (const warning of document.querySelectorAll(".anew-warning")) warning.textContent = "";
  window.scrollTo(0, 0);
  document.querySelector("main > section:not([hidden]) > h2").focus({ preventScroll: true });
}

function welcome() {
  find("resume").hidden = !state;
  find("name").value = state ? state.name : "";
  find("begin").textContent = state ? "Go on" : "Start with the training";
}

function thank() {
  const count = state.trials.reduce((sum, trial) => sum + trial.scores.length, 0);
  const trials = END === 1 ? "1 trial" : `${END} trials`;
  find("summary").textContent = `You have rated ${count} signals in ${trials}.`;
}

function enter(at) {
  const training = at === TRAINING;
  const trial = training ? state.training : state.trials[at];
  find("heading").textContent = training ? "Training" : `Trial ${at + 1} of ${END}`;
  find("listening").classList.toggle("training", training);
  find("training-text").hidden = !training;
  find("trial-text").hidden = training;
  find("next").textContent = nextLabel(at);
  const clips = test.trials[trial.file].clips;
  const signals = [
    { ...clips[0], id: OPEN },
    ...trial.order.map((clip, position) => ({ ...clips[clip], id: position })),
  ];
  const player = new Player(signals, update);
  current = { trial, player, rows: makeRows(trial), since: performance.now(), ticked: null };
  current.ticker = setInterval(tick, 50);
  say("Getting the sound ready …");
  player.load().then(
    () => { if (current && current.player === player) ready(); },
    () => say("This browser cannot decode the sound of this page: try another one."),
  );
  update();
}

function nextLabel(at) {
  if (at === TRAINING) return "Start the test";
  return at === END - 1 ? "Finish" : "Next trial";
}

function ready() {
  find("position").max = current.player.duration;
  say("");
  update();
}

function leave() {
  if (!current) return;
  current.player.pause();
  clearInterval(current.ticker);
  spend();
  for (const row of current.rows) row.element.remove();
  current = null;
}

// Adds the time since the last call to that of the trial.
function spend() {
  const now = performance.now();
  current.trial.seconds += (now - current.since) / 1000;
  current.since = now;
}

function next() {
  if (state.at === TRAINING) return show(0);
  const missing = missingIn(current.trial);
  if (missing.length) return say(`Not done yet. ${missing.join(" ")}`);
  current.trial.done = new Date().toISOString();
  return show(state.at + 1);
}

// What keeps a trial from being done, in sentences.
function missingIn(trial) {
  const letters = (wanted) => trial.order.map((_, at) => at).filter(wanted).map(letterOf);
  const unheard = letters((at) => trial.heard[at] < LEAST_HEARD);
  const unrated = letters((at) => trial.scores[at] === null);
  const sentences = [];
  if (unheard.length) sentences.push(`Listen to ${unheard.join(", ")}.`);
  if (unrated.length) sentences.push(`Rate ${unrated.join(", ")}.`);
  if (!unrated.length && !trial.scores.includes(100)) {
    sentences.push("At least one signal is the reference itself: find it and rate it 100.");
  }
  return sentences;
}

function letterOf(position) {
  return LETTERS[position];
}

// --- Signals ---------------------------------------------------------------------------------

function makeRows(trial) {
  return trial.order.map((_, position) => {
    const element = find("signal").content.firstElementChild.cloneNode(true);
    const [button, slider, score] = element.querySelectorAll("button, input, output");
    button.addEventListener("click", () => choose(position));
    slider.setAttribute("aria-label", `Score of signal ${letterOf(position)}`);
    slider.addEventListener("focus", () => current.player.select(position));
    slider.addEventListener("input", () => rate(position, Number(slider.value)));
    // A click on where the thumb stands already is a rating too, and changes no value.
    slider.addEventListener("click", () => rate(position, Number(slider.value)));
    find("signals").append(element);
    return { element, button, slider, score };
  });
}

// Clicking what is heard already pauses it: so the space bar does the same on a button as elsewhere.
function choose(position) {
  const { player } = current;
  if (player.selected === position) player.toggle();
  else hear(position);
}

function hear(position) {
  const { player, rows } = current;
  const buttons = [document.querySelector(".open .choose"), ...rows.map((row) => row.button)];
  const held = document.activeElement;
  player.select(position);
  player.play();
  // The keyboard goes where the ear goes.
  if (held && held.closest(".signal")) buttons[position + 1].focus();
}

function rate(position, score) {
  const { player, trial } = current;
  if (player.selected !== position) player.select(position);
  trial.scores[position] = Math.min(100, Math.max(0, score));
  trial.done = null;
  state.downloaded = false;
  say("");
  keep();
  update();
}

function change(step) {
  const { player, trial } = current;
  if (state.at === TRAINING) return;
  if (player.selected === OPEN) say("The open reference has no score: choose a signal first.");
  else rate(player.selected, (trial.scores[player.selected] ?? 50) + step);
}

// --- Position and loop -----------------------------------------------------------------------

function seek(seconds) {
  if (current.player.duration) current.player.seek(seconds);
}

function loop(from, to) {
  const { player } = current;
  if (!player.duration) return;
  const [begin, end] = [Math.max(0, from), Math.min(to, player.duration)];
  if (end - begin < Math.min(LEAST_LOOP, player.duration)) {
    say(`A loop lasts ${LEAST_LOOP} s at least.`);
    return;
  }
  say("");
  player.repeat(begin > 0 || end < player.duration ? [begin, end] : null);
}

const LOOPS = {
  from: () => loop(current.player.position, current.player.span[1]),
  to: () => loop(current.player.span[0], current.player.position),
  whole: () => loop(0, current.player.duration),
};

// --- What is shown ---------------------------------------------------------------------------

function say(text) {
  find("message").textContent = text;
}

function update() {
  if (!current) return;
  const { player, rows, trial } = current;
  find("play").textContent = player.playing ? "Pause" : "Play";
  mark(document.querySelector(".open"), player.selected === OPEN);
  rows.forEach((row, position) => {
    mark(row.element, player.selected === position);
    updateRow(row, letterOf(position), trial.scores[position], trial.heard[position]);
  });
  const [begin, end] = player.span;
  const whole = player.loop === null;
  find("loop-text").textContent = whole ? "" : `${begin.toFixed(1)} to ${end.toFixed(1)} s`;
  find("loop-whole").disabled = whole;
  find("loop-band").hidden = whole;
  find("loop-band").style.setProperty("--from", begin / player.duration);
  find("loop-band").style.setProperty("--share", (end - begin) / player.duration);
  updatePosition();
}

function mark(element, selected) {
  element.classList.toggle("selected", selected);
  element.querySelector("button").setAttribute("aria-pressed", String(selected));
}

function updateRow(row, letter, score, heard) {
  const done = heard >= LEAST_HEARD;
  row.button.textContent = letter;
  row.button.classList.toggle("heard", done);
  row.button.setAttribute("aria-label", `Signal ${letter}, ${done ? "heard" : "not heard yet"}`);
  row.element.classList.toggle("rated", score !== null);
  row.slider.value = score ?? 50;
  row.slider.setAttribute("aria-valuetext", score === null ? "not rated" : `${score}, ${label(score)}`);
  row.score.textContent = score ?? "–";
}

function label(score) {
  return LABELS[Math.min(4, Math.floor(score / 20))];
}

function updatePosition() {
  const { player } = current;
  const [at, of] = [player.position.toFixed(1), player.duration.toFixed(1)];
  find("position").value = player.position;
  find("position").setAttribute("aria-valuetext", `${at} of ${of} seconds`);
  find("time").textContent = `${at} / ${of} s`;
}

// Some times a second: moves the position, and counts what has been heard.
function tick() {
  const { player, trial } = current;
  const now = performance.now();
  const passed = current.ticked === null ? 0 : (now - current.ticked) / 1000;
  const sounding = player.began !== null; // it may be asked to play and not have begun yet
  current.ticked = sounding ? now : null;
  if (!sounding) return;
  updatePosition();
  const position = player.selected;
  if (position === OPEN || trial.heard[position] >= LEAST_HEARD) return;
  trial.heard[position] += passed;
  if (trial.heard[position] < LEAST_HEARD) return;
  keep();
  update();
}

// --- The file of scores ----------------------------------------------------------------------

function table() {
  const lines = [COLUMNS];
  state.trials.forEach((trial, index) => {
    const { file, clips } = test.trials[trial.file];
    trial.order.forEach((clip, position) => {
      const score = trial.scores[position];
      const seconds = trial.seconds.toFixed(1);
      lines.push([
        state.name, test.test, index + 1, file, position + 1, clips[clip].condition, score,
        seconds, trial.done,
      ]);
    });
  });
  return lines.map((line) => `${line.map(cell).join(",")}\n`).join("");
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const link = document.createElement("a");
  const name = state.name.replace(/[^\p{L}\p{M}\p{N}_-]+/gu, "_");
  link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
  link.download = `acomp-ratings-${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  state.downloaded = true;
  keep();
}

// --- What the assessor does ------------------------------------------------------------------

function startAnew(event) {
  const warning = event.target.parentElement.querySelector(".anew-warning");
  if (!warning.textContent && !state.downloaded) {
    warning.textContent = "This drops scores that were not downloaded. Press again to do so.";
    return;
  }
  drop();
  show(START);
}

function keyed(event) {
  if (!current || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.matches("input:not([type=range]), textarea, select")) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

// What a key does; null where it is the focused element's own.
function actionOf(event) {
  const { target, key } = event;
  const { player, trial } = current;
  const step = event.shiftKey ? 10 : 1;
  switch (key) {
    case " ": return target.closest("button") ? null : () => player.toggle();
    case "ArrowUp": return target.id === "position" ? null : () => change(step);
    case "ArrowDown": return target.id === "position" ? null : () => change(-step);
    case "ArrowLeft": return target.matches("input") ? null : () => seek(player.position - 1);
    case "ArrowRight": return target.matches("input") ? null : () => seek(player.position + 1);
  }
  const letter = key.toUpperCase();
  if (letter === "S") return LOOPS.from;
  if (letter === "T") return LOOPS.to;
  if (letter === "W") return LOOPS.whole;
  if (letter === "R" || key === "0") return () => hear(OPEN);
  const position = /^[1-9]$/.test(key) ? Number(key) - 1 : LETTERS.indexOf(letter);
  return position >= 0 && position < trial.order.length ? () => hear(position) : null;
}

function begin(event) {
  event.preventDefault();
  const name = find("name").value.trim();
  if (!name) return;
  state = state || newState(name);
  state.name = name;
  show(firstToDo());
}

function firstToDo() {
  if (!state.trials[0].done) return TRAINING;
  const open = state.trials.findIndex((trial) => !trial.done);
  return open < 0 ? END : open;
}

find("who").addEventListener("submit", begin);
find("play").addEventListener("click", () => current.player.toggle());
find("position").addEventListener("input", (event) => seek(Number(event.target.value)));
find("loop-from").addEventListener("click", LOOPS.from);
find("loop-to").addEventListener("click", LOOPS.to);
find("loop-whole").addEventListener("click", LOOPS.whole);
document.querySelector(".open .choose").addEventListener("click", () => choose(OPEN));
find("previous").addEventListener("click", () => show(state.at - 1));
find("next").addEventListener("click", next);
find("back").addEventListener("click", () => show(END - 1));
find("download").addEventListener("click", download);
for (const button of document.querySelectorAll(".anew")) {
  button.addEventListener("click", startAnew);
}
document.addEventListener("keydown", keyed);
window.addEventListener("pagehide", () => { if (state) keep(); });
show(state ? state.at : START);
