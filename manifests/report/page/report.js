"use strict";
// The page: an overview, a list to look through by keyboard, and what a person decides of each case.
// Text from files goes into the page as text, never as HTML.

const PAGE_SIZE = 100;
const VERDICTS = {
  1: ["keep", "keep"], 2: ["doubt", "doubt"], 3: ["leave_out", "leave out"],
  4: ["sides_swapped", "sides swapped"], 5: ["not_annotated", "not annotated after all"],
};
const NAMES = Object.fromEntries(Object.values(VERDICTS));
const REASONS = ["", "looks right", "label misplaced", "label cut off", "label incomplete", "wrong structure", "image quality", "not this region", "other"];
const KEYS = [
  ["j, ↓", "next case"], ["i, ↑", "previous case"], ["PageDown, PageUp", "next, previous page"],
  ["Enter", "open the case"], ["Escape", "close it"],
  ...Object.entries(VERDICTS).map(([key, [, name]]) => [key, name]),
  ["c", "comment, reason, classes"], ["0", "take the verdict back"], ["?", "these keys"],
];
const $ = (id) => document.getElementById(id);
let facts, shown, here = 0, page = 0, verdicts = {}, viewer, opened = null, waiting = null;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function marginaliaReport(given) {
  facts = given;
  const name = `${facts.name}: ${facts.results ? "results" : "data"}, ${facts.cases.length} cases`;
  document.title = $("name").textContent = name;
  facts.colours = Object.fromEntries(Object.entries(facts.colours).map(([n, colour]) => [n, {
    colour, rgb: [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)),
  }]));
  verdicts = read("verdicts") ?? {};
  $("reviewer").value = read("reviewer") ?? "";
  makeFilters();
  makeOverview();
  listen();
  applyFilters();
  showTab("overview");
}

// --- what is kept in the browser; all pages of files share one store, so each report has its names

const key = (name) => `marginalia:${facts.report}:${name}`;
function read(name) {
  try { return JSON.parse(localStorage.getItem(key(name))); } catch { return null; }
}
function keep(name, value) {
  try { localStorage.setItem(key(name), JSON.stringify(value)); }
  catch (error) { alert(`The browser keeps no verdicts (${error}): save them to a file before you leave.`); }
}

// --- verdicts

function setVerdict(item, verdict, { reason = "", text = "", classes = [] } = {}) {
  verdicts[item.id] = {
    case_id: item.id, verdict, classes, reason, text,
    reviewer: $("reviewer").value.trim(), time: new Date().toISOString(),
    position_lps_mm: opened === item ? viewer.at.map((n, a) => round(item.origin[a] + n * item.spacing[a])) : null,
    label_sha256: item.label_sha256, source_label_sha256: item.source_label_sha256, overrides: item.overrides,
  };
  keep("verdicts", verdicts);
  refresh(item);
}

function judge(item, verdict) {
  if (!$("reviewer").value.trim()) {
    $("reviewer").focus();
    $("reviewer").placeholder = "your name first";
    return;
  }
  if (verdict === "not_annotated") return openComment(item, verdict);
  setVerdict(item, verdict, verdicts[item.id]);
  if (!opened) move(1);
}

function takeBack(item) {
  delete verdicts[item.id];
  keep("verdicts", verdicts);
  refresh(item);
}

function openComment(item, verdict) {
  const dialog = $("comment"), form = dialog.querySelector("form"), old = verdicts[item.id] ?? {};
  dialog.querySelector("h2").textContent = `${item.id}: ${NAMES[verdict]}`;
  form.reason.replaceChildren(...REASONS.map((reason) => element("option", { value: reason, textContent: reason || "(none)" })));
  form.reason.value = old.reason ?? "";
  form.text.value = old.text ?? "";
  $("comment-classes").hidden = verdict !== "not_annotated";
  $("comment-classes").replaceChildren(
    element("legend", { textContent: "Classes that nobody drew" }),
    ...Object.keys(item.ml).map((name) => element("label", {}, element("input", {
      type: "checkbox", name: "class", value: name, checked: (old.classes ?? []).includes(name),
    }), `${name} `)),
  );
  dialog.onclose = () => {
    const classes = [...form.querySelectorAll("[name=class]:checked")].map((box) => box.value);
    if (dialog.returnValue !== "ok" || (verdict === "not_annotated" && !classes.length)) return;
    setVerdict(item, verdict, { reason: form.reason.value, text: form.text.value, classes: verdict === "not_annotated" ? classes : [] });
  };
  dialog.returnValue = "cancel";
  dialog.showModal();
}

function save() {
  const reviewer = $("reviewer").value.trim() || "reviewer";
  const content = { format: "marginalia verdicts 1", report: facts.report, name: facts.name, verdicts: Object.values(verdicts) };
  const link = element("a", {
    href: URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" })),
    download: `verdicts-${reviewer.replace(/\W+/g, "_")}.json`,
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function load(file) {
  try {
    const content = JSON.parse(await file.text());
    if (content.format !== "marginalia verdicts 1") throw new Error("no file of verdicts");
    for (const verdict of content.verdicts) {
      const old = verdicts[verdict.case_id];
      if (!old || old.time < verdict.time) verdicts[verdict.case_id] = verdict;
    }
    keep("verdicts", verdicts);
    applyFilters();
  } catch (error) { alert(`${file.name}: ${error.message}`); }
}

// --- the list

function makeFilters() {
  const choices = (name, values) => element("label", {}, `${name} `, element("select", { name },
    element("option", { value: "", textContent: "all" }),
    ...values.map((value) => element("option", { value, textContent: value.replaceAll("_", " ") }))));
  const unique = (of) => [...new Set(facts.cases.flatMap(of))].sort();
  $("filters").append(
    choices("dataset", unique((c) => c.dataset)), choices("split", unique((c) => c.split)),
    choices("class", facts.classes), choices("finding", Object.keys(facts.meanings)),
    choices("verdict", ["none", "label changed since", ...Object.values(VERDICTS).map(([code]) => code)]),
    element("label", {}, "sort ", element("select", { name: "sort" },
      ...(facts.results ? ["worst Dice", "suspicion", "case"] : ["suspicion", "case"]).map((value) => element("option", { value, textContent: value })))),
    element("label", {}, "find ", element("input", { name: "text", type: "search", size: 14 })),
  );
  $("filters").addEventListener("input", applyFilters);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
}

const changed = (item) => verdicts[item.id] && verdicts[item.id].label_sha256 !== item.label_sha256;
function verdictOf(item) {
  if (!verdicts[item.id]) return "none";
  return changed(item) ? "label changed since" : verdicts[item.id].verdict;
}

const ORDERS = {
  "worst Dice": (a, b) => (a.worst ?? 2) - (b.worst ?? 2), suspicion: (a, b) => b.suspicion - a.suspicion,
  case: (a, b) => (a.id < b.id ? -1 : 1),
};
function applyFilters() {
  const chosen = Object.fromEntries(new FormData($("filters")));
  const text = chosen.text.toLowerCase();
  shown = facts.cases.filter((item) =>
    (!chosen.dataset || item.dataset === chosen.dataset) && (!chosen.split || item.split === chosen.split) &&
    (!chosen.class || chosen.class in item.ml) && (!chosen.finding || item.findings.some(([code]) => code === chosen.finding)) &&
    (!chosen.verdict || verdictOf(item) === chosen.verdict) && (!text || item.id.toLowerCase().includes(text)));
  shown.sort(ORDERS[chosen.sort]);
  here = 0;
  showPage(0);
}

function showPage(number) {
  page = Math.max(0, Math.min(number, Math.ceil(shown.length / PAGE_SIZE) - 1));
  const start = page * PAGE_SIZE, items = shown.slice(start, start + PAGE_SIZE);
  $("list").replaceChildren(...items.map(card));
  const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
  $("pager").replaceChildren(
    `${shown.length} of ${facts.cases.length} cases; page ${page + 1} of ${pages} `,
    element("button", { textContent: "previous", onclick: () => turn(-1) }), " ",
    element("button", { textContent: "next", onclick: () => turn(1) }));
  mark(false);
}

function turn(step) {
  showPage(page + step);
  here = page * PAGE_SIZE;
  mark(true);
}

function card(item) {
  const pictureOf = item.problem
    ? element("p", { className: "dim", textContent: item.problem })
    : element("img", { loading: "lazy", src: `strips/${item.key}.webp`, alt: `three planes of ${item.id}`, onclick: () => open(item) });
  const made = element("li", { onclick: () => { here = shown.indexOf(item); mark(false); } }, notes(item), pictureOf);
  made.dataset.case = item.id;
  return made;
}

function notes(item) {
  const verdict = verdicts[item.id];
  const lines = element("div", {}, element("h3", { textContent: item.id }),
    element("div", { className: "dim", textContent: `${item.dataset}, ${item.split}; ${item.size.join(" x ")} voxels of ${item.spacing.join(" x ")} mm` }));
  if (verdict) {
    const words = [NAMES[verdict.verdict] ?? verdict.verdict, verdict.classes.join(", "), verdict.reason, verdict.text, verdict.reviewer].filter(Boolean).join("; ");
    lines.append(element("div", { className: `verdict ${changed(item) ? "changed" : ""}`, textContent: changed(item) ? `label changed since: ${words}` : words }));
  }
  for (const [code, reason, asks] of item.findings) {
    lines.append(element("span", { className: `finding ${asks ? "asks" : "dim"}`, title: facts.meanings[code], textContent: `${code}: ${reason}` }));
  }
  const volumes = element("div");
  for (const [n, name] of Object.entries(item.groups)) {
    const values = [];
    if (name in item.ml) values.push(`${item.ml[name]} mL`);
    if (Math.abs(item.z[name] ?? 0) > 3.5) values.push(`unlike the others, z ${item.z[name]}`);
    if (name in item.dice) values.push(`Dice ${item.dice[name]}`);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = facts.colours[n].colour;
    volumes.append(element("div", {}, swatch, `${name.replaceAll("_", " ")} ${values.join(", ")}`));
  }
  lines.append(volumes);
  return lines;
}

function refresh(item) {
  const old = $("list").querySelector(`li[data-case="${CSS.escape(item.id)}"]`);
  old?.replaceWith(card(item));
  mark(false);
}

function mark(scroll) {
  $("list").querySelector(".here")?.classList.remove("here");
  const one = $("list").children[here - page * PAGE_SIZE];
  one?.classList.add("here");
  if (scroll) one?.scrollIntoView({ block: "nearest" });
  const judged = facts.cases.filter((item) => verdicts[item.id] && !changed(item)).length;
  $("count").textContent = `${judged} of ${facts.cases.length} judged`;
}

function move(step) {
  here = Math.max(0, Math.min(shown.length - 1, here + step));
  if (Math.floor(here / PAGE_SIZE) !== page) showPage(Math.floor(here / PAGE_SIZE));
  mark(true);
}

// --- the case

function open(item) {
  here = shown.indexOf(item);
  mark(false);
  if (!item.viewer) {
    return window.open(`strips/${item.key}.webp`, "_blank", "noopener");
  }
  opened = item;
  $("viewer").querySelector("h2").textContent = item.id;
  $("viewer-notes").replaceChildren("reading ...");
  if (!$("viewer").open) $("viewer").showModal();
  waiting = item.key;
  const script = element("script", { src: `viewers/${item.key}.js` });
  script.onerror = () => $("viewer-notes").replaceChildren(`viewers/${item.key}.js cannot be read`);
  script.onload = () => script.remove();
  document.head.append(script);
}

async function marginaliaVolume(name, data) {
  if (name !== waiting) return;
  const item = opened, planes = $("viewer-planes");
  planes.replaceChildren();
  viewer = new Viewer(planes, facts.colours, (at) => { $("position").textContent = at.map((n, a) => `${"LPS"[a]} ${round(item.origin[a] + n * item.spacing[a])}`).join(", ") + " mm"; });
  makeTools(item, data);
  await viewer.open(data, item.spacing, Object.values(data.middles)[0]);
  $("viewer-notes").replaceChildren(notes(item));
  $("viewer-notes").querySelectorAll(".finding").forEach((line) => leadTo(line, item, data));
  $("viewer").dataset.ready = item.id;
}

// A click on a finding goes to the place in its words, or to the middle of the class that it names.
function leadTo(line, item, data) {
  const place = line.textContent.match(/x (-?[\d.]+), y (-?[\d.]+), z (-?[\d.]+) mm/);
  const named = Object.entries(item.groups).find(([n, name]) => n in data.middles && line.textContent.includes(`: ${name}`));
  const at = place ? place.slice(1).map((mm, a) => Math.round((mm - item.origin[a]) / item.spacing[a])) : named && data.middles[named[0]];
  if (!at) return;
  line.classList.add("leads");
  line.onclick = () => viewer.go(at);
}

function makeTools(item, data) {
  const tools = $("viewer-tools");
  const toggle = (text, change) => element("button", { textContent: text, onclick: (event) => { change(); event.target.classList.toggle("on"); viewer.draw(); } });
  tools.replaceChildren(
    element("select", { onchange: (event) => { viewer.window = event.target.value; viewer.draw(); } },
      ...Object.keys(WINDOWS).map((name) => element("option", { value: name, textContent: name }))),
    toggle("fills", () => { viewer.filled = !viewer.filled; }));
  for (const [n, name] of Object.entries(item.groups)) {
    const asks = item.findings.filter(([, reason, asked]) => asked && name.split("+").some((one) => reason.includes(one)));
    const box = element("input", { type: "checkbox", checked: true, onchange: (event) => { viewer.hidden[event.target.checked ? "delete" : "add"](Number(n)); viewer.draw(); } });
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = facts.colours[n].colour;
    const go = element("button", { textContent: name.replaceAll("_", " "), disabled: !(n in data.middles), className: asks.length ? "on" : "",
      title: asks.map(([code, reason]) => `${code}: ${reason}`).join("\n") || "go to its middle", onclick: () => viewer.go(data.middles[n]) });
    tools.append(element("span", {}, box, swatch, go));
  }
  if (facts.niivue) {
    tools.append(element("a", { id: "niivue", href: `niivue/niivue.html?${item.key}`, target: "_blank", rel: "noopener", textContent: "NiiVue" }));
  }
  tools.append(element("span", { id: "position", className: "dim" }));
}

function closeViewer() {
  opened = waiting = null;
  delete $("viewer").dataset.ready;
  $("viewer").close();
}

// --- the overview

function makeOverview() {
  const datasets = [...new Set(facts.cases.map((c) => c.dataset))].sort();
  const rows = datasets.map((dataset) => {
    const cases = facts.cases.filter((c) => c.dataset === dataset);
    return element("tr", {}, cell(dataset), cell(cases.length, "number"), cell([...new Set(cases.map((c) => c.licence))].join(", ")),
      cell(count(cases.map((c) => c.split))),
      ...facts.classes.map((name) => {
        const annotated = cases.filter((c) => name in c.ml);
        const absent = annotated.filter((c) => c.ml[name] === 0).length;
        if (!annotated.length) return cell("", "number");
        return cell(`${annotated.length - absent}${absent ? ` + ${absent} absent` : ""}${annotated.length < cases.length ? ` of ${cases.length}` : ""}`, "number");
      }));
  });
  const titles = ["dataset", "cases", "licence", "splits", ...facts.classes.map((name) => name.replaceAll("_", " "))];
  const findings = Object.entries(facts.meanings).map(([code, meaning]) => element("tr", {},
    element("td", {}, element("a", { href: "#", textContent: code, onclick: (event) => { event.preventDefault(); choose({ finding: code }); } })),
    cell(facts.cases.filter((c) => c.findings.some(([found]) => found === code)).length, "number"), cell(meaning)));
  $("overview").append(
    element("h2", { textContent: "Cases that annotate each class" }), table(titles, rows),
    element("h2", { textContent: "Spacing before harmonising, along z (mm)" }), strips(datasets, (c) => [["", c.before[2]]]),
    element("h2", { textContent: "Volume of each class (mL)" }), strips(datasets, (c) => Object.entries(c.ml)),
    ...(facts.results ? [element("h2", { textContent: "Dice" }), strips(datasets, (c) => Object.entries(c.dice), false)] : []),
    element("h2", { textContent: "Mean intensity of each class (HU)" }), strips(datasets, (c) => Object.entries(c.hu), false),
    element("h2", { textContent: "Findings" }), table(["code", "cases", "meaning"], findings));
}

const cell = (text, className = "") => element("td", { textContent: text, className });
const table = (titles, rows) => element("table", {}, element("tr", {}, ...titles.map((text) => element("th", { textContent: text }))), ...rows);
function count(values) {
  const counts = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return Object.entries(counts).map(([value, n]) => `${n} ${value}`).join(", ");
}

// One dot for each case, a line for each class and dataset; a click shows the case.
function strips(datasets, valuesOf, logarithmic = true) {
  const lines = new Map();
  for (const item of facts.cases) for (const [name, value] of valuesOf(item)) {
    if (value === null || (logarithmic && !(value > 0))) continue;
    const line = [name.replaceAll("_", " "), item.dataset].filter(Boolean).join(", ");
    if (!lines.has(line)) lines.set(line, []);
    lines.get(line).push([value, item, name]);
  }
  const all = [...lines.values()].flat().map(([value]) => (logarithmic ? Math.log10(value) : value));
  const low = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const place = (value) => 260 + (560 * ((logarithmic ? Math.log10(value) : value) - low)) / (high - low || 1);
  const names = [...lines.keys()].sort();
  const picture = svg("svg", { width: 900, height: 18 * names.length + 20 });
  names.forEach((name, row) => {
    const y = 18 * row + 12;
    picture.append(text(0, y + 4, name));
    lines.get(name).forEach(([value, item, group], n) => {
      const out = (item.odd[group] ?? 0) >= 1 || Math.abs(item.z[group] ?? 0) > 3.5;
      const dot = svg("circle", { cx: place(value), cy: y + ((n * 7) % 9) - 4, r: 3.5, fill: "#8ec7ff" });
      if (out) dot.classList.add("out");
      dot.append(svg("title", {}, `${item.id}: ${value}`));
      dot.addEventListener("click", () => choose({ text: item.id }));
      picture.append(dot);
    });
  });
  if (all.length) {
    const least = logarithmic ? 10 ** low : low, most = logarithmic ? 10 ** high : high;
    picture.append(text(255, 18 * names.length + 16, String(round(least))), text(800, 18 * names.length + 16, String(round(most))));
  }
  return picture;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const text = (x, y, words) => svg("text", { x, y }, words);
const round = (value) => Math.round(value * 10) / 10;

function choose(filters) {
  $("filters").reset();
  for (const [name, value] of Object.entries(filters)) $("filters").elements[name].value = value;
  showTab("cases");
  applyFilters();
}

// --- keys and buttons

function showTab(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const button of document.querySelectorAll("[data-tab]")) button.classList.toggle("on", button.dataset.tab === name);
}

function listen() {
  for (const button of document.querySelectorAll("[data-tab]")) button.onclick = () => showTab(button.dataset.tab);
  $("reviewer").oninput = () => keep("reviewer", $("reviewer").value);
  $("save").onclick = save;
  $("load").onchange = (event) => { load(event.target.files[0]); event.target.value = ""; };
  $("help").onclick = () => $("keys").showModal();
  $("close").onclick = closeViewer;
  $("viewer").oncancel = (event) => { event.preventDefault(); closeViewer(); };
  $("keys").querySelector("table").append(...KEYS.map(([name, what]) => element("tr", {}, cell(name), cell(what))));
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("comment").open || $("keys").open) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox") {
    if (event.key === "Enter" || event.key === "Escape") event.target.blur();
    return;
  }
  const item = opened ?? shown[here];
  const actions = {
    j: () => step(1), ArrowDown: () => step(1), i: () => step(-1), ArrowUp: () => step(-1),
    PageDown: () => turn(1), PageUp: () => turn(-1), Enter: () => item && !opened && open(item),
    c: () => item && openComment(item, verdicts[item.id]?.verdict ?? "doubt"),
    0: () => item && takeBack(item), "?": () => $("keys").showModal(),
    ...Object.fromEntries(Object.entries(VERDICTS).map(([name, [verdict]]) => [name, () => item && judge(item, verdict)])),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  showTab("cases");
  actions[event.key]();
}

function step(by) {
  move(by);
  if (opened && shown[here] !== opened) open(shown[here]);
}
