"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
const RATE = page.sample_rate; // of what is drawn; the browser resamples to it
const WINDOW = 0.008; // seconds seen by a column of the spectrogram: short enough to see a burst
const RANGE = 70; // decibels from black to white
const LONGEST_VIEW = 12; // seconds shown at first

let shown = []; // the utterances that pass the filters, in order
let current = null;
let view = [0, 1]; // seconds
let sound = null; // decoded, of the current utterance
let output = null; // what plays
let playing = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- the list
function passes(item) {
  const wanted = byId("search").value.trim().toLowerCase();
  const show = byId("show").value;
  if (show === "failed" && item.ok) return false;
  if (show === "suspicious" && !item.signs.length) return false;
  if (show === "fine" && item.signs.length) return false;
  const below = Number(byId("below").value);
  if (below < 1 && item.ok && item.lowest_confidence >= below) return false;
  if (!wanted) return true;
  const labels = [...item.words, ...item.phones].map((interval) => interval[2].toLowerCase());
  return item.id.toLowerCase().includes(wanted) || labels.includes(wanted);
}

const ORDER = {
  rank: (a, b) => a.rank - b.rank,
  confidence: (a, b) => a.confidence - b.confidence,
  likelihood: (a, b) => a.likelihood_z - b.likelihood_z,
  duration: (a, b) => b.duration - a.duration,
  id: (a, b) => a.id.localeCompare(b.id),
};

function fillList() {
  byId("limit").value = Number(byId("below").value).toFixed(2);
  shown = page.utterances.filter(passes).sort(ORDER[byId("sort").value]);
  byId("list").replaceChildren(...shown.map((item) => {
    const note = item.ok ? item.words.map((word) => word[2]).filter(Boolean).join(" ") : item.signs[0];
    const button = element("button", { type: "button", onclick: () => open(item) }, item.id);
    button.append(element("small", { textContent: note, className: item.ok ? "" : "failed" }));
    button.dataset.id = item.id;
    return element("li", {}, button);
  }));
  const failed = page.utterances.filter((item) => !item.ok).length;
  const suspicious = page.utterances.filter((item) => item.ok && item.signs.length).length;
  byId("summary").textContent =
    `${page.utterances.length} utterances, ${failed} failed, ${suspicious} suspicious; ${shown.length} shown`;
  mark();
}

function mark() {
  for (const button of byId("list").querySelectorAll("button"))
    button.setAttribute("aria-current", String(current !== null && button.dataset.id === current.id));
}

// ---------------------------------------------------------------- one utterance
async function open(item) {
  stop();
  current = item;
  sound = null;
  view = [0, Math.min(item.duration, LONGEST_VIEW) || 1];
  mark();
  drawDetail();
  const found = await decode(item);
  if (current !== item || !found) return;
  sound = found;
  draw();
}

async function decode(item) {
  const source = byId(`sound-${item.number}`);
  if (!source) return null;
  const bytes = Uint8Array.from(atob(source.textContent.trim()), (letter) => letter.charCodeAt(0));
  return new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes.buffer);
}

function drawDetail() {
  const item = current;
  const signs = element("ul", { className: "signs" });
  signs.append(...item.signs.map((sign) => element("li", { textContent: sign, className: item.ok ? "" : "failed" })));
  const controls = element("div", { className: "controls" });
  const add = (text, action) => controls.append(element("button", { type: "button", textContent: text, onclick: action }));
  add("Play", () => play(view[0], view[1]));
  add("Stop", stop);
  add("Zoom in", () => zoom(0.5));
  add("Zoom out", () => zoom(2));
  add("Earlier", () => move(-0.8));
  add("Later", () => move(0.8));
  controls.append(element("span", { id: "where" }));
  const picture = element("div", { id: "picture" });
  picture.append(element("canvas", { id: "wave", height: 60 }), element("canvas", { id: "spectrogram", height: 220 }));
  picture.append(element("div", { id: "words", className: "tier" }), element("div", { id: "phones", className: "tier" }));
  picture.append(element("div", { id: "cursor" }));
  const numbers = element("table");
  const row = (name, value) => numbers.append(element("tr", {}, element("th", { textContent: name }), element("td", { textContent: value })));
  row("length", `${item.duration.toFixed(3)} s`);
  if (item.ok) {
    row("share in words", item.coverage.toFixed(2));
    row("confidence of words", `${item.confidence.toFixed(2)}, lowest ${item.lowest_confidence.toFixed(2)}`);
    row("log-likelihood per frame", `${item.log_likelihood_per_frame.toFixed(2)} (z = ${item.likelihood_z.toFixed(1)})`);
  }
  if (!byId(`sound-${item.number}`)) row("sound", "not in this page");
  byId("detail").replaceChildren(element("h2", { textContent: item.id }), signs, controls, picture, numbers);
  draw();
}

function zoom(factor) {
  const middle = (view[0] + view[1]) / 2;
  const half = Math.min(Math.max((view[1] - view[0]) * factor, 0.1), current.duration) / 2;
  look(middle - half, 2 * half);
}

function move(share) {
  look(view[0] + share * (view[1] - view[0]), view[1] - view[0]);
}

function look(start, length) {
  const first = Math.min(Math.max(start, 0), Math.max(current.duration - length, 0));
  view = [first, Math.min(first + length, current.duration)];
  draw();
}

function draw() {
  byId("where").textContent = `${view[0].toFixed(2)} to ${view[1].toFixed(2)} s`;
  drawTier("words", current.words, []);
  drawTier("phones", current.phones, current.duration_z);
  for (const name of ["wave", "spectrogram"]) byId(name).width = Math.max(byId("picture").clientWidth, 100);
  if (!sound) return;
  const samples = sound.getChannelData(0);
  drawWave(byId("wave"), samples);
  drawSpectrogram(byId("spectrogram"), samples);
  for (const name of ["wave", "spectrogram"]) drawBoundaries(byId(name));
}

function drawTier(name, intervals, lengths) {
  const share = (seconds) => 100 * (seconds - view[0]) / (view[1] - view[0]);
  byId(name).replaceChildren(...intervals.flatMap(([start, end, label, confidence, ratio, uncertainty], number) => {
    if (end <= view[0] || start >= view[1]) return [];
    const z = lengths[number] || 0;
    const within = uncertainty ? ` ± ${(1000 * uncertainty).toFixed(0)} ms` : "";
    const text = `${label || "silence"}, ${start.toFixed(3)} to ${end.toFixed(3)} s${within}, confidence ${confidence.toFixed(2)}, log ratio ${ratio.toFixed(1)}`;
    const button = element("button", { type: "button", textContent: label, title: z ? `${text}, length z = ${z.toFixed(1)}` : text });
    button.setAttribute("aria-label", text);
    if (Math.abs(z) > page.far || (name === "words" && ratio < page.misfit)) button.className = "odd";
    button.style.left = `${share(start)}%`;
    button.style.width = `${share(end) - share(start)}%`;
    button.style.background = `rgba(var(--doubt), ${label ? Math.min(1, 2 * (1 - confidence)).toFixed(3) : 0})`;
    button.onclick = () => play(start, end);
    return [button];
  }));
}

function drawWave(canvas, samples) {
  const context = canvas.getContext("2d"), middle = canvas.height / 2;
  let peak = 1e-6;
  for (const value of samples) peak = Math.max(peak, Math.abs(value));
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#333";
  const step = (view[1] - view[0]) * RATE / canvas.width;
  for (let x = 0; x < canvas.width; x++) {
    const from = Math.floor(view[0] * RATE + x * step), to = Math.max(from + 1, Math.floor(from + step));
    let low = 0, high = 0;
    for (let n = from; n < Math.min(to, samples.length); n++) {
      low = Math.min(low, samples[n]);
      high = Math.max(high, samples[n]);
    }
    context.fillRect(x, middle - middle * high / peak, 1, Math.max(1, middle * (high - low) / peak));
  }
}

function drawSpectrogram(canvas, samples) {
  const size = 512, half = size / 2, length = Math.round(WINDOW * RATE);
  const taper = Float64Array.from({ length }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / (length - 1)));
  const decibels = new Float32Array(canvas.width * half);
  let loudest = -Infinity;
  for (let x = 0; x < canvas.width; x++) {
    const center = Math.round((view[0] + (x + 0.5) / canvas.width * (view[1] - view[0])) * RATE);
    const real = new Float64Array(size), imaginary = new Float64Array(size);
    for (let n = 0; n < length; n++) {
      const place = center - (length >> 1) + n;
      const value = (samples[place] || 0) - 0.95 * (samples[place - 1] || 0); // emphasises what is high
      real[n] = taper[n] * value;
    }
    transform(real, imaginary);
    for (let bin = 0; bin < half; bin++) {
      const power = 10 * Math.log10(real[bin] ** 2 + imaginary[bin] ** 2 + 1e-12);
      decibels[x * half + bin] = power;
      loudest = Math.max(loudest, power);
    }
  }
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y++) {
    const bin = Math.floor((canvas.height - 1 - y) / canvas.height * half);
    for (let x = 0; x < canvas.width; x++) {
      const level = Math.min(Math.max((loudest - decibels[x * half + bin]) / RANGE, 0), 1);
      image.data.set([255 * level, 255 * level, 255 * level, 255], 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(image, 0, 0);
}

// Fourier transform in place; the length is a power of two.
function transform(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= size; length *= 2) {
    for (let k = 0; k < length / 2; k++) {
      const angle = -2 * Math.PI * k / length, cosine = Math.cos(angle), sine = Math.sin(angle);
      for (let start = k; start < size; start += length) {
        const other = start + length / 2;
        const re = real[other] * cosine - imaginary[other] * sine, im = real[other] * sine + imaginary[other] * cosine;
        real[other] = real[start] - re;
        imaginary[other] = imaginary[start] - im;
        real[start] += re;
        imaginary[start] += im;
      }
    }
  }
}

function drawBoundaries(canvas) {
  const context = canvas.getContext("2d"), ends = new Set(current.words.map((word) => word[1]));
  for (const [, end] of current.phones) {
    if (end <= view[0] || end >= view[1]) continue;
    const x = (end - view[0]) / (view[1] - view[0]) * canvas.width;
    context.fillStyle = ends.has(end) ? "rgba(31, 95, 191, 0.9)" : "rgba(31, 95, 191, 0.5)";
    context.fillRect(x, 0, ends.has(end) ? 2 : 1, canvas.height);
  }
}

// ---------------------------------------------------------------- hearing it
function play(start, end) {
  stop();
  page.played = [current.id, start, end]; // for whoever tests this page
  if (!sound) return;
  output = output || new AudioContext();
  const source = output.createBufferSource();
  source.buffer = sound;
  source.connect(output.destination);
  source.start(0, start, end - start);
  const began = output.currentTime;
  playing = { source };
  const follow = () => {
    if (!playing || playing.source !== source) return;
    const now = start + output.currentTime - began;
    if (now >= end) return stop();
    const cursor = byId("cursor");
    cursor.style.display = now >= view[0] && now <= view[1] ? "block" : "none";
    cursor.style.left = `${100 * (now - view[0]) / (view[1] - view[0])}%`;
    requestAnimationFrame(follow);
  };
  follow();
}

function stop() {
  if (playing) playing.source.stop();
  playing = null;
  if (byId("cursor")) byId("cursor").style.display = "none";
}

document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select") || !["ArrowDown", "ArrowUp"].includes(event.key) || !shown.length) return;
  event.preventDefault();
  const place = shown.indexOf(current) + (event.key === "ArrowDown" ? 1 : -1);
  const next = shown[Math.min(Math.max(place, 0), shown.length - 1)];
  open(next);
  byId("list").children[shown.indexOf(next)].scrollIntoView({ block: "nearest" });
});
byId("filters").addEventListener("input", fillList);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("resize", () => current && draw());
fillList();
if (shown.length) open(shown[0]);
