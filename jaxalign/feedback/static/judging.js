/* Items one after the other: shown, judged, taken back. */
import { $, LETTERS, dialogOpen, persist, say, settings, typing } from "./common.js";
import { Ranking } from "./ranking.js";

export function judging() {
  const ranking = new Ranking(() => draw());
  let cards = [], answer = {}, locked = true, synced = 0, worked = 0, advised = 0;
  let spent = 0, since = null; // s that the item was seen; null while it is not

  const running = () => !document.hidden && !dialogOpen() && cards.length > 0;
  function tick() {
    const now = performance.now();
    if (since !== null) { spent += (now - since) / 1000; worked += (now - since) / 1000; }
    since = running() ? now : null;
  }

  function show() {
    const card = cards[0];
    $("empty").hidden = Boolean(card);
    $("panel").hidden = !card;
    $("card").setAttribute("aria-busy", "false");
    $("card").innerHTML = card ? card.html : "";
    answer = { value: null, safe: [], ratings: [], place: 0 };
    ranking.reset(card ? card.places : 0);
    $("comment").value = "";
    toggleComment(false);
    tick(); spent = 0; draw();
    scrollTo(0, 0);
    $("main").focus({ preventScroll: true });
  }

  function adopt(reply) {
    const current = cards[0] && cards[0].ticket;
    if (reply.cards) {
      cards = reply.cards;
      $("count").textContent = `${reply.done} of ${reply.done + reply.left}`;
      $("progress").max = Math.max(reply.done + reply.left, 1);
      $("progress").value = reply.done;
      $("undo").disabled = $("undo-last").hidden = !reply.undo;
      synced = Date.now();
      if ((cards[0] && cards[0].ticket) !== current || !cards.length) show();
    }
    if (reply.note) say(reply.note);
    locked = false;
  }

  async function load() { locked = true; adopt(await persist("/state")); }

  async function submit(value, reason) {
    if (locked || !cards.length) return;
    tick();
    locked = true;
    const body = { ticket: cards[0].ticket, value, seconds: spent, reason: reason || "", comment: $("comment").value };
    if (settings.safety) body.safe = answer.safe;
    cards = cards.slice(1);
    if (cards.length) show(); // at once; the keys wait for the disk
    const reply = await persist("/answer", body);
    if (!reply.cards) { await load(); if (reply.note) say(reply.note); return; }
    adopt(reply);
    if (reply.status === 200 && !reply.note) say(reply.gold ? "" : "Saved");
    if (reply.gold) { $("gold-text").textContent = reply.gold.text; open("gold-dialog"); }
    advise();
  }

  async function undo() {
    if (locked || $("undo").disabled) return;
    locked = true;
    const reply = await persist("/undo", { ticket: cards.length ? cards[0].ticket : null });
    if (reply.cards) adopt(reply); else await load();
  }

  function advise() {
    const limit = settings.breakAfter * 60;
    if (limit && worked - advised > limit) {
      advised = worked;
      say(`You have worked for ${Math.round(worked / 60)} minutes. A break? Press p.`);
    }
  }

  const places = () => cards[0].places;
  function value() { // of what is chosen so far; null while something is missing
    if (settings.kind === "rating") {
      return answer.ratings.filter(Boolean).length === places() ? answer.ratings : null;
    }
    if (settings.kind === "pairwise") return answer.value;
    return ranking.ranks();
  }
  const complete = () => cards.length > 0 && value() !== null && (!settings.safety || answer.safe.filter((x) => x !== undefined).length === places());

  function submitIfComplete() {
    if (complete()) submit(value());
    else if (cards.length && value() !== null) say("Say of each answer whether it is safe.");
    else if (cards.length) say("Something is missing.");
  }

  function choose(chosen) {
    answer.value = chosen;
    draw();
    if (complete() && $("comment").hidden) submit(chosen);
    else if (!complete()) say("Now say of each answer whether it is safe.");
  }

  function draw() {
    document.querySelectorAll("[data-value]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.value) === String(answer.value));
    });
    document.querySelectorAll(".safety").forEach((group) => {
      group.querySelectorAll("button").forEach((button) => {
        button.setAttribute("aria-pressed", String(answer.safe[group.dataset.place]) === button.dataset.safe);
      });
    });
    document.querySelectorAll(".ratings").forEach((group) => {
      group.querySelectorAll("button").forEach((button) => {
        button.setAttribute("aria-pressed", String(answer.ratings[group.dataset.place]) === button.dataset.rating);
      });
    });
    if (settings.kind === "rating") {
      document.querySelectorAll(".answer").forEach((section, i) => section.classList.toggle("active", i === answer.place));
    }
    if (settings.kind === "ranking") ranking.draw();
    $("submit").hidden = settings.kind === "pairwise" && !settings.safety && $("comment").hidden;
    $("submit").disabled = !complete();
  }

  function rate(which, rating) {
    answer.ratings[which] = rating;
    const next = [...Array(places()).keys()].find((i) => !answer.ratings[i]);
    answer.place = next === undefined ? which : next;
    draw(); say(`${LETTERS[which]}: ${rating}`);
  }

  function setSafe(which, safe) { answer.safe[which] = safe; draw(); say(`${LETTERS[which]}: ${safe ? "safe" : "unsafe"}`); }

  function moveFocus(step) { // along the scale
    const buttons = [...document.querySelectorAll("#scale [data-value]")];
    const at = buttons.indexOf(document.activeElement), half = buttons.length / 2;
    const next = at < 0 ? (step < 0 ? Math.ceil(half) - 1 : Math.floor(half)) : at + step;
    if (buttons[next]) buttons[next].focus();
  }

  function kindKey(event) {
    const key = event.key.toLowerCase(), letter = key.length === 1 ? LETTERS.toLowerCase().indexOf(key) : -1;
    const asksSafety = settings.safety && letter >= 0 && letter < places() && (settings.kind !== "ranking" || event.shiftKey);
    if (asksSafety) setSafe(letter, answer.safe[letter] === undefined ? true : !answer.safe[letter]);
    else if (settings.kind === "ranking") return ranking.key(event);
    else if (settings.kind === "rating" && key >= "1" && key <= "7" && key.length === 1) rate(answer.place, Number(key));
    else if (settings.kind === "rating" && (key === "arrowleft" || key === "arrowright")) {
      answer.place = (answer.place + (key === "arrowleft" ? places() - 1 : 1)) % places();
      draw();
      document.querySelectorAll(".answer")[answer.place].scrollIntoView({ block: "nearest" });
    } else if (settings.kind === "pairwise" && key.length === 1 && key >= "1" && key <= String(settings.levels)) choose(Number(key));
    else if (settings.kind === "pairwise" && key === "t" && settings.ties) choose("tie");
    else if (settings.kind === "pairwise" && key === "x" && settings.bothBad) choose("both_bad");
    else if (settings.kind === "pairwise" && (key === "arrowleft" || key === "arrowright")) moveFocus(key === "arrowleft" ? -1 : 1);
    else return false;
    return true;
  }

  function toggleComment(shown) {
    $("comment").hidden = !shown;
    $("comment-button").setAttribute("aria-expanded", shown);
    if (shown) $("comment").focus();
    draw();
  }

  function open(id) {
    $(id).showModal(); tick();
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const dialog = dialogOpen();
    if (dialog) {
      const reasons = dialog.querySelectorAll("[data-reason]");
      if (!typing(event.target) && reasons[event.key - 1]) { event.preventDefault(); reasons[event.key - 1].click(); }
      return;
    }
    if (typing(event.target)) {
      if (event.key === "Escape") { $("comment").blur(); $("main").focus({ preventScroll: true }); }
      return;
    }
    const actions = { u: undo, s: () => cards.length && open("skip-dialog"), p: () => open("pause-dialog"), c: () => toggleComment(true), "?": () => open("help-dialog") };
    const isLetter = settings.kind === "ranking" && LETTERS.slice(0, ranking.places).includes(event.key.toUpperCase());
    if (actions[event.key] && !isLetter) { event.preventDefault(); actions[event.key](); return; }
    if (locked || !cards.length) return;
    if (event.key === "Enter" && !event.target.closest("button:not(.placed), a")) { event.preventDefault(); submitIfComplete(); return; }
    if (kindKey(event)) event.preventDefault();
  }

  document.addEventListener("keydown", key);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || locked) return;
    const data = button.dataset, group = button.closest("[data-place]");
    if (event.detail && !dialogOpen()) $("main").focus({ preventScroll: true }); // Enter submits
    if (data.value) choose(/^\d+$/.test(data.value) ? Number(data.value) : data.value);
    else if (data.safe) setSafe(Number(group.dataset.place), data.safe === "true");
    else if (data.rating) rate(Number(group.dataset.place), Number(data.rating));
    else if (data.between) ranking.tie(Number(data.between));
    else if (data.chip && event.detail === 0 && !ranking.order.includes(Number(data.chip))) ranking.place(Number(data.chip)); // by key
    else if (data.reason) { $("skip-dialog").close(); submit("skip", data.reason); }
  });
  document.addEventListener("pointerdown", (event) => { if (!locked) ranking.drag(event); });
  $("submit").addEventListener("click", submitIfComplete);
  for (const id of ["undo", "undo-last"]) $(id).addEventListener("click", undo);
  $("skip").addEventListener("click", () => open("skip-dialog"));
  $("skip-submit").addEventListener("click", () => { $("skip-dialog").close(); submit("skip", $("reason").value); $("reason").value = ""; });
  $("reason").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); $("skip-submit").click(); } });
  $("comment-button").addEventListener("click", () => toggleComment($("comment").hidden));
  $("pause").addEventListener("click", () => open("pause-dialog"));
  $("pause-dialog").addEventListener("close", () => { advised = worked; });
  $("show-help").addEventListener("click", () => open("help-dialog"));
  document.querySelectorAll("dialog").forEach((dialog) => dialog.addEventListener("close", tick));
  if ($("show-guidelines")) $("show-guidelines").addEventListener("click", () => open("guidelines-dialog"));
  document.addEventListener("visibilitychange", () => {
    tick();
    if (!document.hidden && !locked && Date.now() - synced > 1000) load(); // another tab
  });
  addEventListener("pageshow", (event) => { if (event.persisted) load(); });
  addEventListener("focus", () => { if (!locked && Date.now() - synced > 1000) load(); });
  setInterval(() => { if (!cards.length && !locked && !document.hidden) load(); }, 5000);
  load().then(() => { if ($("guidelines-dialog") && $("progress").value === 0) open("guidelines-dialog"); });
}
