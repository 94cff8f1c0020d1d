/* A ranking: `order` is the places from best to worst, `tied[i]` whether the i-th is tied
   with the one before. By letters, buttons, arrows, and by dragging. */
import { $, LETTERS, say } from "./common.js";

export class Ranking {
  constructor(changed) { this.changed = changed; this.reset(0); }

  reset(places) { this.places = places; this.order = []; this.tied = []; this.tieNext = false; }

  /* The rank of each place; null while some are not placed. */
  ranks() {
    if (this.order.length < this.places) return null;
    const ranks = [];
    let rank = 0;
    this.order.forEach((place, i) => { if (!this.tied[i] || !i) rank += 1; ranks[place] = rank; });
    return ranks;
  }

  expression() {
    return this.order.map((place, i) => (i ? (this.tied[i] ? " = " : " > ") : "") + LETTERS[place]).join("");
  }

  tell() { this.changed(); say(this.expression() || "Empty"); }

  place(which, at = this.order.length) {
    const from = this.order.indexOf(which);
    if (from >= 0) {
      this.order.splice(from, 1);
      this.tied.splice(from, 1);
      if (at > from) at -= 1;
    }
    at = Math.max(0, Math.min(at, this.order.length));
    this.order.splice(at, 0, which);
    this.tied.splice(at, 0, from < 0 && this.tieNext && at > 0);
    this.tied[0] = false;
    this.tieNext = false;
    this.tell();
  }

  tie(i) {
    if (i > 0 && i < this.order.length) { this.tied[i] = !this.tied[i]; this.tell(); }
  }

  /* Whether a key does something here. */
  key(event) {
    const key = event.key.toLowerCase(), focused = document.activeElement.dataset.chip;
    const at = focused === undefined ? -1 : this.order.indexOf(Number(focused));
    const which = key.length === 1 ? LETTERS.toLowerCase().indexOf(key) : -1;
    if (which >= 0 && which < this.places && !event.shiftKey) {
      if (!this.order.includes(which)) this.place(which);
    } else if (key === "=") {
      if (at > 0) this.tie(at);
      else if (this.order.length === this.places) this.tie(this.places - 1);
      else if (this.order.length) { this.tieNext = !this.tieNext; this.changed(); }
    } else if (key === "backspace") {
      this.order.pop();
      this.tied.pop();
      this.tell();
    } else if (at >= 0 && key === "arrowleft") this.place(Number(focused), at - 1);
    else if (at >= 0 && key === "arrowright") this.place(Number(focused), at + 2);
    else return false;
    return true;
  }

  draw() {
    const focus = document.activeElement.dataset.chip;
    const parts = [];
    this.order.forEach((place, i) => {
      if (i) parts.push(this.between(i));
      parts.push(chip(place, i));
    });
    const left = [...Array(this.places).keys()].filter((place) => !this.order.includes(place));
    if (left.length) parts.push(this.hint());
    $("ranking").replaceChildren(...parts);
    $("pool").replaceChildren(...left.map((place) => chip(place, -1)));
    const again = focus === undefined ? null : document.querySelector(`[data-chip="${focus}"]`);
    if (again) again.focus();
  }

  hint() {
    const hint = document.createElement("span");
    hint.className = "hint";
    if (!this.order.length) hint.textContent = "Best first: type a letter, press or drag it here";
    else hint.textContent = this.tieNext ? "= next letter" : "";
    return hint;
  }

  between(i) {
    const button = document.createElement("button");
    const [x, y] = [LETTERS[this.order[i - 1]], LETTERS[this.order[i]]];
    button.type = "button";
    button.className = "between";
    button.dataset.between = i;
    button.textContent = this.tied[i] ? "=" : ">";
    button.setAttribute("aria-label", this.tied[i] ? `${x} equals ${y}; press for better` : `${x} is better than ${y}; press for equal`);
    return button;
  }

  /* Drags a letter with mouse, pen or finger; a press without a move places it. */
  drag(event) {
    const button = event.target.closest(".chip");
    if (!button) return;
    const which = Number(button.dataset.chip), start = [event.clientX, event.clientY];
    let at = null, moved = false;
    const move = (e) => {
      moved = moved || Math.hypot(e.clientX - start[0], e.clientY - start[1]) > 6;
      if (!moved) return;
      button.classList.add("dragged");
      at = place(e.clientX, e.clientY);
      $("ranking").querySelectorAll(".chip").forEach((other, i) => other.classList.toggle("drop", i === at));
    };
    const end = () => {
      for (const name of ["pointerup", "pointercancel"]) removeEventListener(name, end);
      removeEventListener("pointermove", move);
      if (moved && at !== null) this.place(which, at);
      else if (moved) this.changed();
      else if (!this.order.includes(which)) this.place(which);
    };
    addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, end);
  }
}

/* The place among the placed letters that a point is at; null outside. */
function place(x, y) {
  const box = $("ranking").getBoundingClientRect();
  if (y < box.top - 30 || y > box.bottom + 30) return null;
  const chips = [...$("ranking").querySelectorAll(".chip")];
  const i = chips.findIndex((chip) => {
    const r = chip.getBoundingClientRect();
    return y < r.top || (y <= r.bottom && x < r.left + r.width / 2);
  });
  return i < 0 ? chips.length : i;
}

function chip(place, i) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = i < 0 ? "chip" : "chip placed";
  button.textContent = LETTERS[place];
  button.dataset.chip = place;
  button.setAttribute("aria-label", i < 0 ? `Place answer ${LETTERS[place]}` : `Answer ${LETTERS[place]}, place ${i + 1}; arrows move it`);
  return button;
}
