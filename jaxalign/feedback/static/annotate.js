/* The script of every page: which one it is, and the dashboard. */
import { arena } from "./arena.js";
import { $, problem } from "./common.js";
import { judging } from "./judging.js";

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

const pages = { annotate: judging, arena, dashboard };
(pages[document.body.dataset.page] || (() => {}))();
