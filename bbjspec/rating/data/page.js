"use strict";
// One pair at a time. Everything is shown by `hidden` and `textContent`: no text ever becomes markup.
(() => {
  const find = (id) => document.getElementById(id);
  const { mode, page, rater } = document.body.dataset;
  const pairs = [...document.querySelectorAll(".pair")];
  const total = pairs.length;
  const END = total + 1;
  const WORDS = { left: "Left", right: "Right", tie: "Tie", bad: "Both bad" };
  const buttons = [...document.querySelectorAll("[data-vote]")];
  const note = find("note");

  const votes = new Map(); // number -> {vote, note}, as they are on disk
  const drafts = new Map(); // number -> a note without a vote
  const spent = new Map(); // number -> milliseconds on screen
  const done = []; // for undo: [{number, before}]
  let place = 0; // a pair's number, or END
  let since = null; // when the pair on screen came there, null while it is not seen
  let pending = null; // what is not saved yet: {entry, after}
  let busy = true; // nothing is known yet, or a save is under way
  let finished = false;
  const ENDING = { title: find("end-title").textContent, text: find("end-text").textContent };

  // Where votes go. Both raise an Error whose message is for people.

  const served = {
    async ask(path, content) {
      let answer;
      try {
        answer = await fetch(path, content === undefined ? { cache: "no-store" } : {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(content),
          signal: AbortSignal.timeout(path === "finish" ? 600000 : 15000),
        });
      } catch (error) {
        throw new Error(error.name === "TimeoutError" ? "The server does not answer." : "The server cannot be reached: is bbjspec rate still running?");
      }
      let told = null;
      try { told = await answer.json(); } catch { /* no JSON: the status says enough */ }
      if (answer.ok && told !== null) return told;
      if (told !== null && typeof told.error === "string") throw new Error(told.error);
      throw new Error(answer.status === 404 ? "This page is of an earlier start: open the address that bbjspec rate shows now." : `The server says ${answer.status}.`);
    },
    async load() { return (await this.ask("state")).votes; },
    async save(entry) { await this.ask("votes", entry); },
    async finish() { return this.ask("finish", {}); },
    atRisk: () => false,
  };

  const offline = {
    key: `bbjspec-rating/${page}/${rater}`,
    log: [],
    blocked: false,
    unsaved: false, // in no file yet
    read() {
      try {
        const kept = JSON.parse(localStorage.getItem(this.key) ?? "[]");
        if (Array.isArray(kept)) this.log = kept;
      } catch { this.blocked = true; }
    },
    async load() {
      this.read();
      const found = {};
      for (const { number, vote, note: said } of this.log) {
        if (vote === null) delete found[number]; else found[number] = { vote, note: said };
      }
      return found;
    },
    async save(entry) {
      if (!this.blocked) this.read(); // another tab may have added to it
      this.log.push({ ...entry, time: new Date().toISOString() });
      this.unsaved = true;
      try { localStorage.setItem(this.key, JSON.stringify(this.log)); } catch { this.blocked = true; }
    },
    download() {
      const content = { schema_version: 1, page, rater, votes: this.log };
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" }));
      link.download = "ratings.json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      this.unsaved = false;
    },
    async finish() { this.download(); return null; },
    atRisk() { return this.blocked && this.unsaved; },
  };

  const store = mode === "offline" ? offline : served;

  // Time on screen

  function tick() {
    const now = performance.now();
    if (since !== null && place >= 1 && place <= total) spent.set(place, (spent.get(place) ?? 0) + now - since);
    since = document.visibilityState === "visible" ? now : null;
  }

  // What is seen

  function tell(text) { find("state").textContent = text; }

  function trouble(what, why) {
    find("trouble").hidden = what === null;
    if (what !== null) { find("what").textContent = what; find("why").textContent = why; }
  }

  function paint() {
    const shown = pending?.entry.number === place ? pending.entry.vote : votes.get(place)?.vote;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.vote === shown));
    for (const pane of document.querySelectorAll(".pane")) {
      pane.toggleAttribute("data-chosen", pane.dataset.side === shown && pane.closest(".pair") === pairs[place - 1]);
    }
    find("bar").value = votes.size;
    find("count").textContent = `${votes.size} of ${total} rated`;
    find("back").disabled = place === 1;
    find("forward").disabled = place === END || (place === total && votes.size < total);
    find("undo").disabled = votes.size === 0 && pending === null;
  }

  function show(number) {
    tick();
    place = number;
    since = document.visibilityState === "visible" ? performance.now() : null;
    pairs.forEach((pair, index) => { pair.hidden = index !== place - 1; });
    find("end").hidden = place !== END;
    if (place === END) { find("end-title").textContent = ENDING.title; find("end-text").textContent = ENDING.text; }
    find("desk").hidden = place === END;
    note.value = drafts.get(place) ?? votes.get(place)?.note ?? "";
    paint();
    find(place === END ? "end-title" : `pair-${place}`).focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  function unrated(from) {
    for (let step = 0; step < total; step += 1) {
      const number = ((from - 1 + step) % total) + 1;
      if (!votes.has(number)) return number;
    }
    return END;
  }

  // What is done

  const kept = () => votes.get(place)?.note ?? "";
  const edited = () => place >= 1 && place <= total && note.value !== kept();

  /** Save, then do what follows. What fails stays pending with what follows it, for `retry`. */
  async function save(entry, after) {
    busy = true;
    pending = { entry, after };
    trouble(null);
    tell("Saving …");
    paint();
    try {
      await store.save(entry);
    } catch (error) {
      busy = false;
      tell("Not saved");
      trouble("Not saved.", error.message);
      return;
    }
    busy = false;
    pending = null;
    const { number, vote: word, note: said } = entry;
    if (word === null) votes.delete(number); else votes.set(number, { vote: word, note: said });
    drafts.delete(number);
    tell(store.atRisk() ? "Kept by this tab alone: save before you close it" : word === null ? "Taken back" : "Saved");
    after();
  }

  function entry(number, word, said) {
    tick();
    return { number, vote: word, note: said.toWellFormed?.() ?? said, ms: Math.round(spent.get(number) ?? 0) };
  }

  /** Whether something else waits to be saved; then that is to be done first. */
  function waits(mine) {
    if (!pending || mine) return false;
    find("retry").focus();
    return true;
  }

  function vote(word) {
    if (busy || finished || place === END) return;
    if (waits(pending?.entry.number === place && pending.entry.vote !== null)) return;
    const number = place;
    const before = votes.get(number) ?? null;
    save(entry(number, word, note.value), () => {
      done.push({ number, before });
      show(unrated(number));
    });
  }

  /** Look at another pair. A note that was changed is saved first; that of a pair without a vote waits for it. */
  function go(number) {
    if (busy || finished || number < 1 || number > END || (number === END && votes.size < total) || waits(false)) return;
    const rated = votes.get(place);
    if (edited() && rated) {
      save(entry(place, rated.vote, note.value), () => show(number));
      return;
    }
    keep();
    show(number);
  }

  /** Keep the note of a pair without a vote. */
  function keep() {
    if (place < END && !votes.has(place)) drafts.set(place, note.value);
  }

  function undo() {
    if (busy || finished) return;
    if (pending) { // it was never saved: nothing has to be taken back
      pending = null;
      trouble(null);
      tell("Dropped: it was not saved");
      paint();
      return;
    }
    const last = done[done.length - 1] ?? guess();
    if (!last) { tell("Nothing to undo"); return; }
    keep();
    const said = votes.get(last.number)?.note ?? "";
    save(entry(last.number, last.before?.vote ?? null, last.before?.note ?? ""), () => {
      done.pop();
      if (!last.before) drafts.set(last.number, said);
      show(last.number);
    });
  }

  /** After a reload: the rated pair before this one. */
  function guess() {
    const rated = [...votes.keys()].sort((a, b) => a - b);
    const number = rated.filter((one) => one < place).pop() ?? rated.pop();
    return number === undefined ? null : { number, before: null };
  }

  function retry() {
    if (place === 0) { start(); return; }
    if (busy) return;
    if (!pending) { finish(); return; }
    const { entry: again, after } = pending;
    if (again.vote !== null && again.number === place) again.note = note.value;
    save(again, after);
  }

  async function finish() {
    if (busy || finished) return;
    busy = true;
    trouble(null);
    find("finish").disabled = true;
    tell(mode === "offline" ? "" : "Asking the compiler …");
    let told;
    try {
      told = await store.finish();
    } catch (error) {
      tell("Not finished");
      trouble("Not finished. Your votes are saved.", error.message);
      return;
    } finally {
      busy = false;
      find("finish").disabled = false;
    }
    if (told === null) {
      find("end-title").textContent = "Saved as ratings.json.";
      find("end-text").textContent = "Send that file to whoever gave you this page. You may still change a vote, and save again.";
      tell("ratings.json is saved");
      find("end-title").focus();
      return;
    }
    finished = true;
    for (const row of told.rows) {
      const line = find("rows").insertRow();
      for (const cell of [row.number, row.category, WORDS[row.vote] ?? row.vote, row.left, row.right]) line.insertCell().textContent = String(cell);
    }
    find("judge").textContent = `Judged by ${told.judge}.`;
    find("result").hidden = false;
    document.querySelector(".actions").hidden = true;
    find("end-title").textContent = "Finished. Thank you.";
    find("end-text").textContent = "The session has ended, and this page may be closed.";
    tell("Finished");
    find("end-title").focus();
  }

  // Keys and buttons

  const KEYS = {
    "1": () => vote("left"), "2": () => vote("right"), "0": () => vote("tie"), b: () => vote("bad"), u: undo,
    n: () => note.focus({ preventScroll: true }), "?": help, k: () => go(place - 1), j: () => go(place + 1),
    arrowleft: () => go(place - 1), arrowright: () => go(place + 1),
  };

  function help() { find("help").showModal(); }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || find("help").open) return;
    if (event.altKey) {
      if (event.code === "KeyN" && place !== END) { event.preventDefault(); note.focus({ preventScroll: true }); }
      return;
    }
    if (event.target === note) {
      if (event.key === "Escape") { event.preventDefault(); find(`pair-${place}`).focus({ preventScroll: true }); }
      return;
    }
    const key = event.key.toLowerCase();
    const act = Object.hasOwn(KEYS, key) ? KEYS[key] : null;
    const arrow = key.startsWith("arrow");
    if (act === null || place === 0 || (!arrow && (event.repeat || !find("keys").checked))) return;
    const box = arrow && event.target.closest(".text, .scroll");
    if (box && box.scrollWidth > box.clientWidth) return; // it scrolls
    if (key === "n" && place === END) return;
    event.preventDefault();
    act();
  });

  for (const button of buttons) button.addEventListener("click", () => vote(button.dataset.vote));
  const CLICKS = { undo, "end-undo": undo, back: () => go(place - 1), forward: () => go(place + 1), retry, finish, ask: help, close: () => find("help").close(), download: () => { offline.download(); tell("ratings.json is saved"); } };
  for (const [id, act] of Object.entries(CLICKS)) find(id)?.addEventListener("click", act);

  document.addEventListener("visibilitychange", tick);
  window.addEventListener("beforeunload", (event) => {
    const draft = [...drafts.values()].some((text) => text !== "");
    if (!finished && (busy && place !== 0 || pending || edited() || draft || store.atRisk())) event.preventDefault();
  });

  async function start() {
    trouble(null);
    try {
      const found = await store.load();
      for (const [number, { vote: word, note: said }] of Object.entries(found)) {
        if (Number(number) >= 1 && Number(number) <= total && Object.hasOwn(WORDS, word)) votes.set(Number(number), { vote: word, note: said });
      }
    } catch (error) {
      trouble("Your votes so far could not be read.", error.message);
      return;
    }
    busy = false;
    show(unrated(1));
    if (store.blocked) tell("This browser keeps nothing: save before you close");
  }

  find("no-script").hidden = true;
  start();
})();
