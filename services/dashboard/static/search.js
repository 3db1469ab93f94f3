// The search palette, loaded when it is first opened: by Ctrl-K, / or the link Search. Its results are those of the page
// /search; arrow keys move between them, Enter opens the first or the chosen one, Escape closes.

const DELAY_MS = 120; // after a key, before the server is asked
const KEPT = ["tz", "currency", "account"]; // parameters of this page that the results keep

let palette;
let asking;
let typing;
let shown = null; // the text whose results are listed

const input = () => palette.querySelector("input");
const links = () => [...palette.querySelectorAll(".found a")];

function make() {
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/static/search.css" });
  const dialog = Object.assign(document.createElement("dialog"), { id: "palette", ariaLabel: "Search" });
  dialog.innerHTML = `<form action="/search" role="search"><input type="search" name="q" maxlength="200" aria-label="Search"
    placeholder="Requester, model, token, account, session, request ID, page" autocomplete="off" spellcheck="false"></form>
    <div class="found" role="status"></div>`;
  document.head.append(style);
  document.body.append(dialog);
  dialog.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(load, DELAY_MS); });
  dialog.addEventListener("keydown", move);
  dialog.addEventListener("submit", (event) => { event.preventDefault(); openFirst(); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  return dialog;
}

function address(text) {
  const url = new URL("/search", location);
  const here = new URLSearchParams(location.search);
  for (const name of KEPT) if (here.has(name)) url.searchParams.set(name, here.get(name));
  url.searchParams.set("q", text);
  return url;
}

async function load() {
  clearTimeout(typing);
  asking?.abort();
  asking = new AbortController();
  const text = input().value;
  try {
    const response = await fetch(address(text), { headers: { "X-Partial": "1" }, signal: asking.signal });
    if (!response.ok || response.redirected) { location.assign(address(text)); return; }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const at = links().indexOf(document.activeElement);
    palette.querySelector(".found").replaceChildren(...page.body.childNodes);
    if (at >= 0) (links()[Math.min(at, links().length - 1)] ?? input()).focus();
    shown = text;
  } catch (error) {
    if (error.name !== "AbortError") location.assign(address(text));
  }
}

async function openFirst() {
  if (shown !== input().value) await load();
  if (shown === input().value) links()[0]?.click();
}

function move(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = links();
  const next = all.indexOf(document.activeElement) + step;
  if (next < 0) input().focus();
  else all[Math.min(next, all.length - 1)]?.focus();
}

export function open() {
  palette ??= make();
  if (palette.open) return;
  palette.showModal();
  input().select();
  load();
}
