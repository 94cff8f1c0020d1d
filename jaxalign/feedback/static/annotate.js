"use strict";
/* The script of all pages: judging, the arena, the dashboard. Texts come as HTML that
   the server has made safe; nothing else is put into a page but as text. */
const $ = (id) => document.getElementById(id);
const page = document.body.dataset.page;
const settings = JSON.parse(document.body.dataset.settings || "{}");
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let toastTimer = 0;
function say(text) { // for everybody, and for screen readers
  const span = document.createElement("span");
  span.textContent = text;
  $("status").replaceChildren(span);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("status").replaceChildren(), 2500);
}

function problem(text) {
  if ($("problem").textContent !== text) $("problem").textContent = text;
  $("problem").hidden = !text;
}

function post(path, value) {
  const headers = { "content-type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(value) });
}

/* The reply to a request that is sent until the server answers: what it does it does
   once, as the ticket says which item is meant. */
async function persist(path, value) {
  for (;;) {
    try {
      const response = value === undefined ? await fetch(path) : await post(path, value);
      if (response.status === 401) { location.assign("/login"); await sleep(1e6); }
      if (response.status < 500) {
        problem("");
        return { status: response.status, ...(await response.json()) };
      }
    } catch (error) { if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error; }
    problem("The server does not answer. What you said last is kept here, and sent again.");
    await sleep(1000);
  }
}

const typing = (target) => target.matches("textarea, input");
const dialogOpen = () => document.querySelector("dialog[open]");

/* ---- judging ---- */

function judging() {
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
    answer = { value: null, safe: [], ratings: [], order: [], tied: [], tieNext: false, place: 0 };
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
      $("undo").disabled = !reply.undo;
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
    if (answer.order.length < places()) return null;
    const ranks = []; let rank = 0;
    answer.order.forEach((place, i) => { if (!answer.tied[i] || !i) rank += 1; ranks[place] = rank; });
    return ranks;
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
    if (settings.kind === "ranking" && cards.length) drawRanking();
    $("submit").hidden = settings.kind === "pairwise" && !settings.safety && $("comment").hidden;
    $("submit").disabled = !complete();
  }

  /* rankings: answer.order is the places from best to worst, answer.tied[i] whether
     the i-th is tied with the one before */
  function chip(place, i) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = i < 0 ? "chip" : "chip placed";
    button.textContent = LETTERS[place];
    button.dataset.chip = place;
    button.setAttribute("aria-label", i < 0 ? `Place answer ${LETTERS[place]}` : `Answer ${LETTERS[place]}, rank ${i + 1}; arrows move it`);
    return button;
  }

  function drawRanking() {
    const focus = document.activeElement && document.activeElement.dataset.chip;
    const parts = [];
    answer.order.forEach((place, i) => {
      if (i) {
        const between = document.createElement("button");
        between.type = "button";
        between.className = "between";
        between.dataset.between = i;
        between.textContent = answer.tied[i] ? "=" : ">";
        const [x, y] = [LETTERS[answer.order[i - 1]], LETTERS[place]];
        between.setAttribute("aria-label", answer.tied[i] ? `${x} equals ${y}; press for better` : `${x} is better than ${y}; press for equal`);
        parts.push(between);
      }
      parts.push(chip(place, i));
    });
    const left = [...Array(places()).keys()].filter((place) => !answer.order.includes(place));
    if (left.length) {
      const hint = document.createElement("span");
      hint.className = "hint";
      hint.textContent = answer.order.length ? (answer.tieNext ? "= next letter" : "") : "Best first: type a letter, press or drag it here";
      parts.push(hint);
    }
    $("ranking").replaceChildren(...parts);
    $("pool").replaceChildren(...left.map((place) => chip(place, -1)));
    if (focus !== undefined && focus !== null) {
      const again = document.querySelector(`[data-chip="${focus}"]`);
      if (again) again.focus();
    }
  }

  function expression() {
    return answer.order.map((place, i) => (i ? (answer.tied[i] ? " = " : " > ") : "") + LETTERS[place]).join("");
  }

  function place(which, at = answer.order.length) {
    const from = answer.order.indexOf(which);
    if (from >= 0) { // moved: ties stay with the positions of the others
      answer.order.splice(from, 1); answer.tied.splice(from, 1);
      if (at > from) at -= 1;
    }
    at = Math.max(0, Math.min(at, answer.order.length));
    answer.order.splice(at, 0, which);
    answer.tied.splice(at, 0, from < 0 && answer.tieNext && at > 0);
    answer.tied[0] = false;
    answer.tieNext = false;
    draw(); say(expression());
  }

  function tie(i) {
    if (i > 0 && i < answer.order.length) { answer.tied[i] = !answer.tied[i]; draw(); say(expression()); }
  }

  function rankingKey(event) {
    const key = event.key.toLowerCase(), focused = document.activeElement.dataset.chip;
    const at = focused === undefined ? -1 : answer.order.indexOf(Number(focused));
    const which = LETTERS.toLowerCase().indexOf(key);
    if (key.length === 1 && which >= 0 && which < places() && !event.shiftKey) {
      if (!answer.order.includes(which)) place(which);
    } else if (key === "=") {
      if (at > 0) tie(at);
      else if (answer.order.length === places()) tie(answer.order.length - 1);
      else if (answer.order.length) { answer.tieNext = !answer.tieNext; draw(); }
    } else if (key === "backspace") {
      answer.order.pop(); answer.tied.pop(); draw(); say(expression() || "Empty");
    } else if (at >= 0 && key === "arrowleft") place(Number(focused), at - 1);
    else if (at >= 0 && key === "arrowright") place(Number(focused), at + 2);
    else return false;
    return true;
  }

  function drag(event) { // with mouse, pen or finger
    const button = event.target.closest(".chip");
    if (!button || locked) return;
    const which = Number(button.dataset.chip), start = [event.clientX, event.clientY];
    let at = null, moved = false;
    const over = (e) => {
      const box = $("ranking").getBoundingClientRect();
      if (e.clientY < box.top - 30 || e.clientY > box.bottom + 30) return null;
      const chips = [...$("ranking").querySelectorAll(".chip")];
      const i = chips.findIndex((other) => {
        const r = other.getBoundingClientRect();
        return e.clientY < r.top || (e.clientY <= r.bottom && e.clientX < r.left + r.width / 2);
      });
      return i < 0 ? chips.length : i;
    };
    const move = (e) => {
      moved = moved || Math.hypot(e.clientX - start[0], e.clientY - start[1]) > 6;
      if (!moved) return;
      button.classList.add("dragged");
      at = over(e);
      $("ranking").querySelectorAll(".chip").forEach((other, i) => other.classList.toggle("drop", i === at));
    };
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      if (moved && at !== null) place(which, at); else if (moved) draw();
      else if (!answer.order.includes(which)) place(which);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
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
    else if (settings.kind === "ranking") return rankingKey(event);
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
    const action = { u: undo, s: () => cards.length && open("skip-dialog"), c: () => toggleComment(true), p: () => open("pause-dialog"), "?": () => open("help-dialog") }[event.key];
    if (action && !(settings.kind === "ranking" && cards.length && LETTERS.toLowerCase().indexOf(event.key) < places() && event.key !== "?" && event.key !== "s" && event.key !== "u" && event.key !== "p")) {
      event.preventDefault(); action(); return;
    }
    if (locked || !cards.length) return;
    if (event.key === "Enter" && !event.target.closest("button, a, summary")) { event.preventDefault(); submitIfComplete(); return; }
    if (kindKey(event)) event.preventDefault();
  }

  document.addEventListener("keydown", key);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || locked) return;
    const data = button.dataset, group = button.closest("[data-place]");
    if (data.value) choose(/^\d+$/.test(data.value) ? Number(data.value) : data.value);
    else if (data.safe) setSafe(Number(group.dataset.place), data.safe === "true");
    else if (data.rating) rate(Number(group.dataset.place), Number(data.rating));
    else if (data.between) tie(Number(data.between));
    else if (data.chip && event.detail === 0 && !answer.order.includes(Number(data.chip))) place(Number(data.chip)); // by key
    else if (data.reason) { $("skip-dialog").close(); submit("skip", data.reason); }
  });
  document.addEventListener("pointerdown", drag);
  $("submit").addEventListener("click", submitIfComplete);
  $("undo").addEventListener("click", undo);
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

/* ---- arena ---- */

function arena() {
  let battle = null, turns = 0, busy = false, begun = performance.now();

  function addTurn(html) {
    const turn = document.createElement("div");
    turn.className = "turn";
    turn.innerHTML = '<section class="prompt" aria-label="Your message"><div class="message user"><h2>You</h2><div class="text"></div></div></section><div class="answers answers-2"></div>';
    for (const letter of "AB") {
      const section = document.createElement("section");
      section.className = "answer";
      section.setAttribute("aria-label", `Answer ${letter}`);
      section.innerHTML = `<h2><span class="letter">${letter}</span></h2><div class="text writing"></div>`;
      turn.querySelector(".answers").append(section);
    }
    $("turns").append(turn);
    $("welcome").hidden = true;
    if (html) fillTurn(turn, html);
    turns += 1;
    return turn;
  }

  function fillTurn(turn, html) {
    turn.querySelector(".prompt .text").innerHTML = html.prompt;
    turn.querySelectorAll(".answer .text").forEach((text, i) => { text.innerHTML = html.answers[i]; text.classList.remove("writing"); });
  }

  function draw() {
    $("votes").hidden = !battle || busy;
    $("send").disabled = busy;
    $("composer").hidden = !$("reveal").hidden;
  }

  async function send() {
    const text = $("message").value.trim();
    if (busy || !text || !$("reveal").hidden) return;
    busy = true; draw();
    const turn = addTurn();
    turn.querySelector(".prompt .text").textContent = text;
    turn.scrollIntoView({ block: "start" });
    const answers = turn.querySelectorAll(".answer .text");
    let failure = "The answer broke off; send it again.";
    if (!battle) begun = performance.now();
    try {
      const response = await post("/arena/turn", { battle, text });
      if (response.status === 401) { location.assign("/login"); return; }
      if (!response.ok) failure = (await response.json()).note;
      else for await (const line of lines(response.body)) {
        if (line.error) failure = line.error;
        else if (line.turn) { battle = line.battle; fillTurn(turn, line.turn); failure = ""; }
        else answers[line.place].textContent += line.text;
      }
    } catch (error) { if (!(error instanceof TypeError)) throw error; }
    if (failure) {
      turn.remove(); turns -= 1; problem(failure);
      $("welcome").hidden = turns > 0;
    } else { $("message").value = ""; problem(""); say("Both have answered. Vote, or go on."); }
    busy = false; draw();
  }

  async function* lines(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield JSON.parse(part);
    }
  }

  async function vote(value) {
    if (busy || !battle || $("votes").hidden) return;
    busy = true;
    const reply = await persist("/arena/vote", { battle, value, seconds: (performance.now() - begun) / 1000 });
    busy = false;
    if (!reply.names) { say(reply.note); return load(); }
    $("names").textContent = `A is ${reply.names[0]}, B is ${reply.names[1]}.`;
    document.querySelectorAll(".letter").forEach((letter, i) => { letter.textContent = `${"AB"[i % 2]}: ${reply.names[i % 2]}`; });
    $("reveal").hidden = false;
    battle = null;
    count(reply.votes); draw();
    $("again").focus();
    say($("names").textContent);
  }

  function count(votes) { $("count").textContent = votes ? `${votes} vote${votes > 1 ? "s" : ""}` : ""; }

  function restart() {
    battle = null; turns = 0;
    $("turns").replaceChildren();
    $("welcome").hidden = false;
    $("reveal").hidden = true;
    draw();
    $("message").focus();
  }

  async function load() {
    const state = await persist("/arena/state");
    restart();
    battle = state.battle;
    state.turns.forEach(addTurn);
    count(state.votes); draw();
  }

  $("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
    if (event.key === "Escape") $("main").focus({ preventScroll: true });
  });
  $("votes").addEventListener("click", (event) => { const button = event.target.closest("button"); if (button) vote(button.dataset.vote); });
  $("again").addEventListener("click", restart);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const value = { 1: "left", 2: "tie", 3: "both_bad", 4: "right" }[event.key];
    if (value) { event.preventDefault(); vote(value); }
    if (event.key === "n" && !$("reveal").hidden) { event.preventDefault(); restart(); }
  });
  addEventListener("pageshow", (event) => { if (event.persisted) load(); });
  load();
}

/* ---- dashboard ---- */

function dashboard() {
  setInterval(async () => {
    if (document.hidden || document.activeElement.closest(".scroll")) return;
    try {
      const response = await fetch("/dashboard/tables");
      if (!response.ok) return;
      const text = await response.text();
      if ($("tables").innerHTML !== text) $("tables").innerHTML = text;
      problem("");
    } catch (error) { problem("The server does not answer; these numbers are not the newest."); }
  }, 5000);
}

({ annotate: judging, arena, dashboard }[page] || (() => {}))();
