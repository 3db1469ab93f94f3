// The server renders all pages and charts. This adds crosshair, tooltip, zoom, legend toggles, in-place navigation, the
// request drawer and live refresh. No library and no build step; pages work without scripts.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const WIDTH = 1000;
const POLL_MS = 5000;
const SMALLEST_BUCKET = 900; // seconds
const root = document.documentElement;
const tip = $("#tip");
export const drawer = $("#drawer");

// ---------- numbers, by the rules of services/dashboard/charts/formats.py

const grouped = (value, digits) =>
  value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });

function count(value) {
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (Math.abs(value) >= size) return +(value / size).toFixed(1) + letter;
  }
  return Number.isInteger(value) || Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toPrecision(2));
}

function money(value, sign) {
  if (value === 0) return sign + "0";
  if (Math.abs(value) < 0.0001) return "<" + sign + "0.0001";
  if (Math.abs(value) < 0.005) return sign + value.toFixed(4);
  return sign + grouped(value, Math.abs(value) < 10000 ? 2 : 0);
}

function duration(value) {
  if (value < 1000) return value.toFixed(0) + " ms";
  if (value >= 600000) return +(value / 60000).toPrecision(3) + " min";
  return (value / 1000).toFixed(value < 10000 ? 2 : 1) + " s";
}

const FORMATS = { count, money, duration, percent: (value) => value > 0 && value < 0.05 ? "<0.1%" : value.toFixed(1) + "%" };
const formatNumber = (kind, value, sign) => FORMATS[kind](value, sign);

const zone = () => root.dataset.tz || "UTC";
const at = (seconds, options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone(), ...options }).format(seconds * 1000);
const DAY_AND_TIME = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const DAY = { weekday: "short", day: "numeric", month: "short", year: "numeric" };

function bucketName(data, index) {
  const [from, to] = [data.times[index], data.ends[index]];
  if (to - from < 82800) return [at(from, DAY_AND_TIME), "to " + at(to, { hour: "2-digit", minute: "2-digit" })];
  return to - from <= 90000 ? [at(from, DAY), ""] : [at(from, DAY), "to " + at(to - 1, DAY)];
}

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// ---------- charts: tooltips of server-drawn charts, and the series hidden in the URL

const SEPARATOR = "\t"; // same as in services/dashboard/page_params.py
let charts = [];
let brushing = null;

function fillTooltip(chart, index) {
  const { data } = chart;
  const shown = data.series.filter(([, , values]) => values[index]);
  if (data.kind !== "line") shown.sort((one, other) => other[2][index] - one[2][index]);
  const [from, to] = bucketName(data, index);
  const line = (colour, name, value, kind = "") =>
    element("div", { style: `--c:${colour}`, class: kind }, element("i"), element("span", {}, name),
      element("em", {}, formatNumber(data.format, value, data.sign)));
  tip.replaceChildren(element("b", {}, from), element("small", {}, to),
    ...shown.map(([name, colour, values]) => line(colour, name, values[index])));
  if (!shown.length) tip.append(element("div", {}, "no requests"));
  if (shown.length > 1 && data.kind !== "line") {
    tip.append(line("transparent", "Total", shown.reduce((sum, [, , values]) => sum + values[index], 0), "tot"));
  }
}

function show(chart, index, x, height) {
  chart.index = index;
  for (const other of charts) other.point(other.data.times.length === chart.data.times.length ? index : null);
  fillTooltip(chart, index);
  tip.classList.add("on");
  const box = tip.getBoundingClientRect();
  const left = x + box.width + 28 > innerWidth ? x - box.width - 16 : x + 16;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(8, Math.min(innerHeight - box.height - 8, height - box.height / 2)) + "px";
}

function hide() {
  tip.classList.remove("on");
  for (const chart of charts) { chart.point(null); chart.index = null; }
}

function zoom(data, one, other) {
  const [from, to] = [one, other].sort((a, b) => a - b);
  const url = new URL(location);
  for (const name of ["period", "after", "before", "page", "request"]) url.searchParams.delete(name);
  if (from === to && data.ends[to] - data.times[from] <= SMALLEST_BUCKET) url.pathname = "/logs"; // nothing finer to show
  url.searchParams.set("from", Math.round(data.times[from]));
  url.searchParams.set("to", Math.round(data.kind === "bar" ? data.ends[to] : data.times[to]));
  go(url);
}

function keys(chart, event) {
  const last = chart.data.times.length - 1;
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") { hide(); return; }
  if (event.key === "Enter" && chart.index !== null && chart.data.kind === "bar") zoom(chart.data, chart.index, chart.index);
  if (!(event.key in moves)) return;
  event.preventDefault();
  const from = chart.index ?? (moves[event.key] > 0 ? -1 : last + 1);
  const index = Math.min(last, Math.max(0, from + moves[event.key]));
  const box = chart.box.getBoundingClientRect();
  show(chart, index, box.left + (box.width * chart.across(index)) / 100, box.top + box.height / 2);
}

function wire(figure) {
  const data = JSON.parse($("script", figure).textContent);
  const box = $(".box", figure);
  const last = data.times.length - 1;
  const cursor = element("div", { class: "cur" });
  const brush = element("div", { class: "brush" });
  cursor.hidden = brush.hidden = true;
  box.append(cursor, brush);
  const across = (index) => data.kind === "bar" ? ((index + 0.5) / (last + 1)) * 100 : (index / Math.max(last, 1)) * 100;
  const under = (x) => {
    const { left, width } = box.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (x - left) / width));
    return data.kind === "bar" ? Math.min(last, Math.floor(part * (last + 1))) : Math.round(part * last);
  };
  const chart = { data, figure, box, across, index: null };
  chart.point = (index) => {
    cursor.hidden = index === null;
    if (index !== null) cursor.style.left = across(index) + "%";
  };
  charts.push(chart);
  box.addEventListener("pointermove", (event) => {
    const index = under(event.clientX);
    if (brushing) {
      const [from, to] = [across(brushing.from), across(index)].sort((one, other) => one - other);
      brush.hidden = false;
      brush.style.left = from + "%";
      brush.style.width = to - from + "%";
    }
    show(chart, index, event.clientX, event.clientY);
  });
  box.addEventListener("pointerleave", hide);
  box.addEventListener("blur", hide);
  box.addEventListener("keydown", (event) => keys(chart, event));
  box.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    brushing = { from: under(event.clientX) };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointercancel", () => { brushing = null; brush.hidden = true; });
  box.addEventListener("pointerup", (event) => {
    const [from, to] = [brushing?.from, under(event.clientX)];
    brushing = null;
    brush.hidden = true;
    if (from !== undefined && (from !== to || data.kind === "bar")) zoom(data, from, to);
  });
  for (const button of $$(".legend button", figure)) {
    button.addEventListener("click", (event) => toggle(button, event.altKey));
  }
}

// a click hides or shows a series in all charts; Alt-click shows only that one
function toggle(button, alone) {
  const url = new URL(location);
  const name = button.dataset.s;
  let hidden = new Set((url.searchParams.get("hide") ?? "").split(SEPARATOR).filter(Boolean));
  if (alone) {
    const names = $$("button", button.closest(".legend")).map((one) => one.dataset.s);
    const only = names.every((one) => one === name || hidden.has(one));
    hidden = new Set(only ? [] : names.filter((one) => one !== name));
  } else if (!hidden.delete(name)) {
    hidden.add(name);
  }
  url.searchParams.set("hide", [...hidden].join(SEPARATOR));
  if (!hidden.size) url.searchParams.delete("hide");
  for (const one of $$("[data-chart] .legend button")) one.setAttribute("aria-pressed", !hidden.has(one.dataset.s));
  history.replaceState(history.state, "", url);
  go(url, { push: false, still: true });
}

// ---------- focus: remembered as the nth focusable element of the nearest element with an id

const FOCUSABLE = "a[href], button, summary, [tabindex]";

function focusPlace() {
  const active = document.activeElement;
  const part = active?.closest("#body [id]") ?? active?.closest("#body");
  return part && { id: part.id, at: [...part.querySelectorAll(FOCUSABLE)].indexOf(active) };
}

function focusable(place) {
  const part = place && document.getElementById(place.id);
  return part && (place.at < 0 ? part : part.querySelectorAll(FOCUSABLE)[place.at]);
}

// ---------- navigation: fetch the page and replace <main>; all state is in the URL

let loading;

function withoutRequest(address) {
  const url = new URL(address, location);
  url.searchParams.delete("request");
  return url.href;
}

let shown = withoutRequest(location); // what the page shows, whatever request is open

// returns whether the page was replaced; quiet: not while the user reads; still: keeps scroll position and focus
async function go(url, { push = true, quiet = false, still = quiet } = {}) {
  loading?.abort();
  loading = new AbortController();
  if (!quiet) document.body.classList.add("busy");
  try {
    const response = await fetch(url, { signal: loading.signal });
    if (response.redirected || (quiet && !response.ok)) throw new Error(response.status);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (quiet && (!on || reading())) return false; // switched off, or being read, while the page was on its way
    const [focused, resting, scrolled] = [document.activeElement, focusPlace(), scrollY];
    const part = quiet ? "#body" : "#main";
    $(part).replaceWith($(part, page));
    document.title = page.title;
    Object.assign(root.dataset, { live: page.documentElement.dataset.live, tz: page.documentElement.dataset.tz });
    $(".side nav").replaceWith($(".side nav", page));
    if (push) history.pushState({}, "", url);
    shown = withoutRequest(url);
    if (still) {
      scrollTo(0, scrolled);
      focusable(resting)?.focus({ preventScroll: true });
    }
    else if (focused?.name) $(`[name="${CSS.escape(focused.name)}"]`)?.focus();
    mount();
    document.dispatchEvent(new CustomEvent("metrion:page"));
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (quiet) mark("stale");
    else location.assign(url);
    return false;
  } finally {
    document.body.classList.remove("busy");
  }
}

function submit(form) {
  const url = new URL(form.action);
  url.search = "";
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.append(name, value);
  go(url);
}

addEventListener("popstate", () => {
  if (withoutRequest(location) !== shown) { if (drawer.open) drawer.close(); go(location.href, { push: false }); return; }
  const id = new URL(location).searchParams.get("request");
  if (id) openDrawer(requestUrl(id), { push: false });
  else if (drawer.open) drawer.close();
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-nav-submit]")) return;
  event.preventDefault();
  submit(event.target);
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-nav-submit]");
  if (form && event.target.form === form && event.target.closest(".bar") === form && form.reportValidity()) submit(form);
});

// the requester filter suggests names that contain what is typed
let naming;

async function offerNames(box) {
  naming?.abort();
  naming = new AbortController();
  const url = new URL(location);
  url.pathname = "/requesters/names";
  url.searchParams.set("q", box.value.slice(0, 200));
  const response = await fetch(url, { signal: naming.signal }).catch(() => null);
  if (!response?.ok || response.redirected) return;
  const { names } = await response.json();
  box.list.replaceChildren(...names.map((name) => element("option", { value: name })));
}

let typing;
for (const event of ["focusin", "input"]) {
  document.addEventListener(event, ({ target }) => {
    if (!target.matches("[data-names]")) return;
    clearTimeout(typing);
    typing = setTimeout(offerNames, event === "input" ? 150 : 0, target);
  });
}

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* applies to this page only */ }
}

function requestUrl(id) {
  const url = new URL(location);
  url.pathname = "/logs/" + encodeURIComponent(id);
  return url.href;
}

// the open request is part of the address: reload, Back and shared links show it again
async function openDrawer(url, { push = true } = {}) {
  const response = await fetch(url, { headers: { "X-Partial": "1" } });
  if (!response.ok || response.redirected) { location.assign(url); return; }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  drawer.replaceChildren(...page.body.childNodes);
  const address = new URL(location);
  address.searchParams.set("request", $("[data-request]", drawer).dataset.request);
  if (push && !drawer.open) history.pushState({ drawer: true }, "", address);
  else if (push) history.replaceState(history.state, "", address);
  if (!drawer.open) drawer.showModal();
  offerCopies();
}

drawer.addEventListener("close", () => {
  if (!new URL(location).searchParams.has("request")) return;
  if (history.state?.drawer) history.back();
  else history.replaceState(history.state, "", withoutRequest(location));
});

// arrow keys open the request above or below in the list
drawer.addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || event.target.closest("pre, input")) return;
  const links = $$("tr[data-row] a[data-drawer]");
  const at = links.findIndex((link) => new URL(link.href).pathname.endsWith("/" + $("[data-request]", drawer)?.dataset.request));
  const next = at < 0 ? null : links[at + step];
  if (!next) return;
  event.preventDefault();
  openDrawer(next.href);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || drawer.open || $(":popover-open")) return;
  const open = event.target.closest?.("details[open]") ?? $("details[open]");
  if (!open) return;
  open.open = false;
  $("summary", open).focus();
});

const search = () => import("/static/search.js").then(({ open }) => open(), () => location.assign("/search"));

document.addEventListener("keydown", (event) => {
  const { key, ctrlKey, metaKey, altKey, target } = event;
  const isSlash = key === "/" && !ctrlKey && !metaKey && !altKey && !target.closest?.("input, select, textarea");
  if (!isSlash && !(key === "k" && (ctrlKey || metaKey)) || !$("[data-search]") || drawer.open) return;
  event.preventDefault();
  search();
});

document.addEventListener("click", (event) => {
  const target = event.target;
  for (const open of $$("details.pop[open]")) if (!open.contains(target)) open.open = false;
  if (target.closest("#live")) { on = !on; paintLive(); return; }
  if (target.closest("#theme")) { switchTheme(); return; }
  if (target.closest("#here")) { const url = new URL(location); url.searchParams.set("tz", browserZone()); go(url); return; }
  if (target === drawer || target.closest("[data-close]")) { drawer.close(); return; }
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  if (target.closest("[data-search]")) { event.preventDefault(); search(); return; }
  const link = target.closest("a");
  const row = target.closest("tr[data-row]");
  const detail = link?.matches("[data-drawer]") ? link
    : row && !target.closest("a, button") && !String(getSelection()) ? $("[data-drawer]", row) : null;
  if (detail) { event.preventDefault(); openDrawer(detail.href); return; }
  if (link?.matches("[data-nav], .tabs a")) { event.preventDefault(); go(link.href); }
});

// ---------- time zones: the list comes from the browser

const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

function offerZones() {
  const list = $("#zones");
  if (!list) return;
  list.replaceChildren(...["UTC", ...Intl.supportedValuesOf("timeZone")].map((name) => element("option", { value: name })));
  const here = $("#here");
  here.textContent = browserZone();
  here.hidden = browserZone() === zone();
}

// ---------- live: polls every five seconds while the page is visible; refreshes on changes. No event stream: over
// HTTP/1.1 a browser opens six connections per host for all tabs, so the seventh tab would hang.

let on = true;
let lastVersion;

function mark(state) {
  const button = $("#live");
  if (button) button.dataset.state = state;
}

function paintLive() {
  const button = $("#live");
  if (!button) return;
  const possible = root.dataset.live === "1";
  button.hidden = false;
  button.disabled = !possible;
  button.setAttribute("aria-pressed", String(on && possible));
  mark(on && possible ? "on" : "off");
}

// whether a chart is being read or zoomed
export const pointing = () => tip.classList.contains("on") || brushing;

// whether a refresh would disturb the user
function reading() {
  const active = document.activeElement;
  return pointing() || drawer.open || String(getSelection())
    || $("details[open], :popover-open") || (active && active.matches("input, select, textarea"))
    || /[?&](after|before|page)=/.test(location.search);
}

async function poll() {
  try {
    if (on && !document.hidden && $("#body") && root.dataset.live === "1" && !reading()) {
      const response = await fetch("/poll");
      if (!response.ok || response.redirected) throw new Error(response.status);
      const version = await response.text();
      paintLive();
      const changed = lastVersion !== undefined && version !== lastVersion;
      if (!changed || await go(location.href, { push: false, quiet: true })) lastVersion = version;
    }
  } catch {
    mark("stale");
  }
  setTimeout(poll, POLL_MS);
}

// make horizontally scrolling tables reachable by keyboard
function offerScrolling() {
  for (const box of $$(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

function offerCopies() {
  if (!navigator.clipboard) return; // only available over HTTPS and on localhost
  for (const source of $$("pre, [data-secret], [data-copy]")) {
    if (source.parentElement.querySelector(":scope > .copy")) continue;
    const button = element("button", { type: "button", class: "link copy" }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    if (source.matches("[data-copy]")) source.after(" ", button);
    else source.before(button);
  }
}

// replace elements by those of a newer page
export function replaceParts(page, ...selectors) {
  for (const selector of selectors) {
    const [old, fresh] = [$(selector), $(selector, page)];
    if (old && fresh) old.replaceWith(fresh);
  }
  mount();
}

function mount() {
  charts = [];
  $$("[data-chart]").forEach(wire);
  offerZones();
  offerScrolling();
  offerCopies();
  paintLive();
}

addEventListener("resize", offerScrolling);
root.classList.add("scripted");
$("#theme").hidden = false;
mount();
const opened = new URL(location).searchParams.get("request");
if (opened) openDrawer(requestUrl(opened), { push: false });
setTimeout(poll, POLL_MS);
