/* What all pages share. Texts come as HTML that the server has made safe; nothing else
   is put into a page but as text. */
export const $ = (id) => document.getElementById(id);
export const settings = JSON.parse(document.body.dataset.settings || "{}");
export const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let toastTimer = 0;
export function say(text) { // for everybody, and for screen readers
  const span = document.createElement("span");
  span.textContent = text;
  $("status").replaceChildren(span);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("status").replaceChildren(), 2500);
}

export function problem(text) {
  if ($("problem").textContent !== text) $("problem").textContent = text;
  $("problem").hidden = !text;
}

export function post(path, value) {
  const headers = { "content-type": "application/json" };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(value) });
}

/* The reply to a request that is sent until the server answers: what it does it does
   once, as the ticket says which item is meant. */
export async function persist(path, value) {
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

export const typing = (target) => target.matches("textarea, input");
export const dialogOpen = () => document.querySelector("dialog[open]");
