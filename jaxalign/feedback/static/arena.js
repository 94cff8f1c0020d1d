/* Battles: a prompt, two answers in streams, a vote, the names. */
import { $, persist, post, problem, say, typing } from "./common.js";

export function arena() {
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
