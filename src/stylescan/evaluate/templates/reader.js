"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const images = data.images;
  const slot = `stylescan-reader-study:${data.pack}:${data.reader}`;
  const GUARD_MS = 200; // the second half of a double press must not answer the next image
  const part = (id) => document.getElementById(id);
  const buttons = [...part("scale").querySelectorAll("button")];
  const known = new Set(images.map((image) => image.id));
  const levels = new Map();
  const seconds = new Map();
  let position = 0;
  let shownAt = null; // time at which the clock started; null while it stands
  let changedAt = 0;
  let paused = false;
  let kept = true;
  let saved = true;

  const tell = (text) => { part("status").textContent = text; };
  const show = (name) => { for (const id of ["intro", "reading", "done"]) part(id).hidden = id !== name; };
  const reading = () => !part("reading").hidden;

  function stopClock() {
    if (shownAt === null) return;
    const id = images[position].id;
    seconds.set(id, (seconds.get(id) ?? 0) + (performance.now() - shownAt) / 1000);
    shownAt = null;
  }

  function startClock() {
    if (shownAt === null && reading() && !paused && !document.hidden) shownAt = performance.now();
  }

  function answersText() {
    const answers = images.filter(({ id }) => levels.has(id)).map(({ id }) => ({
      id, level: levels.get(id), seconds: seconds.has(id) ? Math.round(seconds.get(id) * 100) / 100 : null,
    }));
    const record = { schema_version: 1, kind: "stylescan reader answers", pack: data.pack, reader: data.reader, answers };
    return JSON.stringify(record, null, 1);
  }

  function keep() {
    try {
      localStorage.setItem(slot, answersText());
      kept = true;
    } catch {
      if (kept) tell("This browser does not keep your progress: save your answers before you close the page.");
      kept = false;
    }
  }

  // Answers from the browser's store or a file: whatever does not fit is left out.
  function take(text) {
    let record;
    try { record = JSON.parse(text); } catch { return -1; }
    if (!record || record.pack !== data.pack || record.reader !== data.reader || !Array.isArray(record.answers)) return -1;
    let taken = 0;
    for (const answer of record.answers) {
      if (!answer || !known.has(answer.id) || !Number.isInteger(answer.level) || answer.level < 1 || answer.level > 6) continue;
      levels.set(answer.id, answer.level);
      if (Number.isFinite(answer.seconds) && answer.seconds >= 0) seconds.set(answer.id, answer.seconds);
      taken += 1;
    }
    return taken;
  }

  const firstOpen = () => images.findIndex(({ id }) => !levels.has(id));

  function draw() {
    const image = images[position];
    show("reading");
    part("image").src = image.src;
    part("image").hidden = paused;
    part("paused").hidden = !paused;
    part("pause").textContent = paused ? "Go on" : "Pause";
    part("back").disabled = position === 0 || paused;
    part("next").disabled = paused;
    part("next").textContent = levels.has(image.id) ? "Next" : "Leave out";
    part("progress").value = levels.size;
    part("where").textContent = `${position + 1} of ${images.length}`;
    for (const button of buttons) {
      button.disabled = paused;
      button.setAttribute("aria-pressed", String(levels.get(image.id) === Number(button.dataset.level)));
    }
    startClock();
  }

  function move(to) {
    stopClock();
    document.activeElement?.blur();
    changedAt = performance.now();
    if (to >= images.length) return finish();
    position = Math.max(0, to);
    draw();
  }

  function finish() {
    position = images.length - 1;
    show("done");
    const left = images.length - levels.size;
    part("total").textContent = `You answered ${levels.size} of ${images.length} images.`;
    part("missing").hidden = left === 0;
    part("text").value = answersText();
  }

  function answer(level) {
    if (!reading() || paused || performance.now() - changedAt < GUARD_MS) return;
    stopClock();
    levels.set(images[position].id, level);
    saved = false;
    keep();
    move(position + 1);
  }

  function togglePause() {
    if (!reading()) return;
    stopClock();
    paused = !paused;
    draw();
  }

  function save() {
    const link = document.createElement("a");
    const url = URL.createObjectURL(new Blob([answersText()], { type: "application/json" }));
    link.href = url;
    link.download = `answers-${data.pack}-reader-${data.reader}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    saved = true;
    tell(`${levels.size} of ${images.length} answers given to the browser to save as ${link.download}.`);
  }

  function focusLevel(level) {
    buttons[Math.min(buttons.length, Math.max(1, level)) - 1].focus();
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !reading()) return;
    const key = event.key.toLowerCase();
    const focused = Number(document.activeElement?.dataset?.level ?? 0);
    if (key === "p") togglePause();
    else if (paused) return;
    else if (/^[1-6]$/.test(key)) answer(Number(key));
    else if (key === "s") focusLevel(2);
    else if (key === "r") focusLevel(5);
    else if (key === "arrowleft") focusLevel((focused || 4) - 1);
    else if (key === "arrowright") focusLevel((focused || 3) + 1);
    else if (key === "b" || key === "backspace") move(position - 1);
    else if (key === "n") move(position + 1);
    else return;
    event.preventDefault();
  }

  part("start").addEventListener("click", () => {
    const open = firstOpen();
    move(open < 0 ? images.length : open);
  });
  part("back").addEventListener("click", () => move(position - 1));
  part("next").addEventListener("click", () => move(position + 1));
  part("pause").addEventListener("click", togglePause);
  part("missing").addEventListener("click", () => move(firstOpen()));
  part("review").addEventListener("click", () => move(images.length - 1));
  for (const button of buttons) button.addEventListener("click", () => answer(Number(button.dataset.level)));
  for (const button of document.querySelectorAll(".save")) button.addEventListener("click", save);
  part("load").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    const taken = file ? take(await file.text()) : -1;
    tell(taken < 0 ? "That file holds no answers to this page." : `${taken} answers taken over.`);
    if (taken > 0) keep();
  });
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => (document.hidden ? stopClock() : startClock()));
  addEventListener("beforeunload", (event) => { if (!kept && !saved) event.preventDefault(); });

  try {
    const before = localStorage.getItem(slot);
    const taken = before === null ? 0 : take(before);
    if (taken > 0) {
      part("start").textContent = "Go on";
      tell(`${taken} of ${images.length} images are answered already.`);
    }
  } catch {
    kept = false;
    tell("This browser does not keep your progress: save your answers before you close the page.");
  }
})();
