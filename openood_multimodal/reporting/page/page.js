// The page's state, its controls and its table. The whole state is in the address (#...), so that a link shows the same.
const $ = (id) => document.getElementById(id);
const boards = Object.keys(data.boards);
const narrow = matchMedia("(max-width: 700px)");
const PER_PAGE = 100;
const state = { board: boards[0], scope: {}, filters: new Map(), q: "", sort: ["AUROC", "desc"], cols: null, page: 0, compare: [], row: "" };
let metric = "AUROC"; // of the ranks and the plot: the metric that sorted last
let table = null;
let shownColumns = []; // between the rank and the box
let differences = []; // fields that a phone shows below the name
let inScope = []; // rows of this benchmark that may be compared
let said = "";

const direction = (name) => (lowerIsBetter.has(name) ? ["asc", "desc"] : ["desc", "asc"]);
const unique = (values) => [...new Set(values)];
const visible = () => (state.cols ?? defaultColumns()).filter((name) => columnOf.has(name));

/** Choose what can be compared: every field of the scope has one value. */
function settle() {
  inScope = rows.filter((row) => row.benchmark === state.board);
  state.options = {};
  for (const name of SCOPE) {
    const options = unique(inScope.map((row) => row[name]));
    const first = name === "ood_set" && options.includes(data.average) ? data.average : options[0];
    if (!options.includes(state.scope[name])) state.scope[name] = first;
    state.options[name] = options;
    inScope = inScope.filter((row) => row[name] === state.scope[name]);
  }
  for (const name of FILTERS) {
    const known = new Set(inScope.map((row) => row[name]));
    const kept = [...(state.filters.get(name) ?? [])].filter((value) => known.has(value));
    if (kept.length) state.filters.set(name, new Set(kept));
    else state.filters.delete(name);
  }
  state.compare = state.compare.filter((id) => inScope.some((row) => row.id === id)).slice(0, 2);
  const known = data.metrics.filter((name) => inScope.some((row) => mean(row, name) !== null));
  if (!known.includes(metric)) metric = known[0] ?? data.metrics[0];
  if (!columnOf.has(state.sort[0]) || (metricPlace.has(state.sort[0]) && !known.includes(state.sort[0]))) state.sort = [metric, direction(metric)[0]];
}

const ofScope = () => scopes.get([state.board, ...SCOPE.map((name) => state.scope[name])].join("\n"));
const defaultColumns = () => (narrow.matches ? ["training", "postprocessor", ...ofScope().shown.filter((name) => metricPlace.has(name)).slice(0, 2)] : ofScope().shown);

function passes(row) {
  for (const [name, values] of state.filters) if (!values.has(row[name])) return false;
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  row.haystack ??= columns.filter((column) => column.kind === "text").flatMap((column) => [cell(row, column.name), row[column.name]]).join(" ").toLowerCase();
  return words.every((word) => row.haystack.includes(word));
}

// --- the address --------------------------------------------------------------------------------------------------------

function write() {
  const query = new URLSearchParams({ benchmark: state.board });
  for (const name of SCOPE) if (state.options[name].length > 1) query.set(name, state.scope[name]);
  for (const [name, values] of state.filters) for (const value of values) query.append(`in.${name}`, value);
  if (state.q) query.set("q", state.q);
  query.set("sort", state.sort.join("."));
  if (metric !== state.sort[0]) query.set("metric", metric);
  if (state.cols) query.set("columns", state.cols.join(","));
  if (state.page) query.set("page", state.page + 1);
  if (state.compare.length) query.set("compare", state.compare.join(","));
  if (state.row) query.set("row", state.row);
  history.replaceState(null, "", `#${query}`);
}

function read() {
  const query = new URLSearchParams(location.hash.slice(1));
  const unknown = [];
  const known = (name, good) => {
    const value = query.get(name);
    if (value !== null && !good(value)) unknown.push(name);
    return value !== null && good(value) ? value : null;
  };
  state.board = known("benchmark", (value) => boards.includes(value)) ?? boards[0];
  const ofBoard = rows.filter((row) => row.benchmark === state.board);
  state.scope = {};
  for (const name of SCOPE) {
    const value = known(name, (each) => ofBoard.some((row) => row[name] === each));
    if (value !== null) state.scope[name] = value;
  }
  state.filters = new Map();
  for (const name of FILTERS) if (query.has(`in.${name}`)) state.filters.set(name, new Set(query.getAll(`in.${name}`)));
  state.q = query.get("q") ?? "";
  const isSort = (value) => /\.(asc|desc)$/.test(value) && columnOf.has(value.replace(/\.\w+$/, ""));
  state.sort = known("sort", isSort)?.split(/\.(?=\w+$)/) ?? ["AUROC", "desc"];
  metric = known("metric", (value) => metricPlace.has(value)) ?? (metricPlace.has(state.sort[0]) ? state.sort[0] : "AUROC");
  state.cols = query.has("columns") ? query.get("columns").split(",").filter((name) => columnOf.has(name)) : null;
  state.page = Math.max(0, (Number.parseInt(query.get("page"), 10) || 1) - 1);
  state.compare = (query.get("compare") ?? "").split(",").filter((id) => byId.has(id));
  state.row = known("row", (value) => byId.has(value)) ?? "";
  said = unknown.length ? `The link names what this page does not have (${unknown.join(", ")}). ` : "";
}

// --- controls -----------------------------------------------------------------------------------------------------------

function pressed(label_, isPressed, act, key) {
  const button = el("button", { type: "button", "aria-pressed": String(isPressed), "data-key": key }, label_);
  button.addEventListener("click", act);
  return button;
}

function renderTabs() {
  $("boards").replaceChildren(...boards.map((name) => pressed(name, name === state.board, () => change(() => {
    Object.assign(state, { board: name, filters: new Map(), q: "", page: 0, cols: null });
  }), `board:${name}`)));
}

function renderScope() {
  const controls = SCOPE.filter((name) => state.options[name].length > 1).map((name) => {
    const options = state.options[name];
    const choose = (value) => change(() => Object.assign(state, { scope: { ...state.scope, [name]: value }, page: 0 }));
    if (name === "setting") {
      return el("div", { className: "tabs small", role: "group", "aria-label": "Near or far" },
        ...options.map((value) => pressed(label(name, value), value === state.scope[name], () => choose(value), `setting:${value}`)));
    }
    const select = el("select", { "data-key": `scope:${name}` }, ...options.map((value) => el("option", { value, selected: value === state.scope[name] }, label(name, value))));
    select.addEventListener("change", () => choose(select.value));
    return el("label", {}, el("span", {}, named(name)), select);
  });
  $("scope").replaceChildren(...controls);
}

function renderFilters() {
  const menus = FILTERS.map((name) => {
    const counts = new Map();
    for (const row of inScope) counts.set(row[name], (counts.get(row[name]) ?? 0) + 1);
    const chosen = state.filters.get(name) ?? new Set();
    const boxes = [...counts].sort(([a], [b]) => label(name, a).localeCompare(label(name, b), "en")).map(([value, n]) => {
      const box = el("input", { type: "checkbox", checked: chosen.has(value), value });
      box.addEventListener("change", () => {
        const values = new Set(state.filters.get(name));
        box.checked ? values.add(value) : values.delete(value);
        values.size ? state.filters.set(name, values) : state.filters.delete(name);
        summary.textContent = heading();
        narrowed();
      });
      return el("label", {}, box, ` ${label(name, value)} `, el("span", { className: "n" }, String(n)));
    });
    const heading = () => named(name) + (state.filters.has(name) ? ` (${state.filters.get(name).size})` : "");
    const summary = el("summary", {}, heading());
    return el("details", { className: "menu", "data-filter": name, hidden: counts.size < 2 }, summary, el("fieldset", { className: "panel" }, el("legend", {}, named(name)), ...boxes));
  });
  const search = el("input", { type: "search", id: "search", value: state.q, placeholder: "Search rows", "aria-label": "Search rows" });
  search.addEventListener("input", () => {
    state.q = search.value;
    narrowed();
  });
  const clear = el("button", { type: "button", className: "quiet", id: "clear" }, "Clear filters");
  clear.addEventListener("click", () => change(() => Object.assign(state, { filters: new Map(), q: "", page: 0 }), "clear"));
  $("filters").replaceChildren(search, ...menus, clear);
}

function renderColumns() {
  const shown = new Set(visible());
  const boxes = columns.map((column) => {
    const box = el("input", { type: "checkbox", checked: shown.has(column.name), value: column.name });
    box.addEventListener("change", () => {
      state.cols = columns.map((each) => each.name).filter((name) => (name === column.name ? box.checked : visible().includes(name)));
      renderTable();
    });
    return el("label", {}, box, ` ${column.title}`);
  });
  $("columns").querySelector("fieldset").replaceChildren(el("legend", {}, "Columns"), ...boxes);
}

// --- the table ----------------------------------------------------------------------------------------------------------

function node(row, column) {
  if (column.kind === "metric") {
    const deviation = std(row, column.name);
    const anyDeviation = inScope.some((each) => std(each, column.name) !== null);
    const value = figure(column.name, mean(row, column.name));
    return el("span", {}, value, anyDeviation && value ? el("span", { className: "std" }, deviation === null ? "" : ` ± ${figure(column.name, deviation)}`) : null);
  }
  if (column.kind === "plot") return el("span", { className: "place" });
  const shown = String(column.show(row));
  if (column.name !== "training" && !(column.name === "postprocessor" && !row.training)) return el("span", {}, column.name === "split" ? shown.slice(0, 25) : shown);
  const button = el("button", { type: "button", className: "link", "aria-label": `Details of ${title(row)}`, "data-row": row.id }, shown);
  button.addEventListener("click", () => showRow(row));
  if (!narrow.matches || state.cols) return button;
  // a phone has no room for these columns
  const more = ["modalities", "networks", ...differences].filter((name) => row[name] && inScope.some((each) => each[name] !== row[name]));
  return el("span", {}, button, el("span", { className: "more" }, more.map((name) => cell(row, name)).join(", ")));
}

function picker(row) {
  const box = el("input", { type: "checkbox", checked: state.compare.includes(row.id), "aria-label": `Compare ${title(row)}` });
  box.addEventListener("change", () => {
    state.compare = box.checked ? [...state.compare, row.id].slice(-2) : state.compare.filter((id) => id !== row.id);
    for (const each of $("table-region").querySelectorAll("tbody input")) each.checked = state.compare.includes(each.closest("tr").dataset.id);
    picked();
  });
  return box;
}

function picked() {
  $("compare").disabled = state.compare.length !== 2;
  $("compare").textContent = state.compare.length === 1 ? "Compare: tick one more row" : "Compare two rows";
  write();
}

// values without a figure come last, whichever way
for (const sign of [1, -1]) {
  DataTable.ext.type.order[`figure-${sign > 0 ? "asc" : "desc"}`] = (a, b) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * (a - b));
}
DataTable.ext.type.order["figure-pre"] = (value) => value;

function renderTable() {
  table?.destroy();
  const shown = visible().map((name) => columnOf.get(name));
  shownColumns = shown;
  differences = ofScope().differing;
  const tableNode = el("table", { className: "results" }, el("caption", {}, `${state.board}, ${label("setting", state.scope.setting)}`));
  $("table-region").replaceChildren(tableNode);
  const render = (column) => (row, kind) => (kind === "display" ? node(row, column) : column.value?.(row) ?? null);
  const sorted = shown.findIndex((column) => column.name === state.sort[0]);
  const fallback = shown.findIndex((column) => column.kind === "metric");
  if (sorted < 0 && fallback >= 0) state.sort = [shown[fallback].name, direction(shown[fallback].name)[0]];
  const at = sorted >= 0 ? sorted : fallback;
  table = new DataTable(tableNode, {
    data: inScope,
    rowId: (row) => `row-${row.id}`,
    columns: [
      { title: "#", name: "#", data: null, render: (row, kind) => (kind === "display" ? el("span", { className: "place" }) : null), orderable: false, className: "num", type: "figure" },
      ...shown.map((column) => ({
        title: column.title, name: column.name, data: null, render: render(column), type: column.kind === "text" ? "string" : "figure",
        orderable: column.kind !== "plot", className: `${column.kind === "text" ? "words" : "num"} is-${column.kind} is-${column.name.replace(/\W/g, "-")}`,
        orderSequence: column.kind === "metric" ? direction(column.name) : ["asc", "desc"],
      })),
      { title: "Compare", data: null, render: (row, kind) => (kind === "display" ? picker(row) : null), orderable: false, className: "pick", type: "figure" },
    ],
    createdRow: (line, row) => (line.dataset.id = row.id),
    order: at < 0 ? [] : [[at + 1, state.sort[1]]],
    pageLength: PER_PAGE, displayStart: state.page * PER_PAGE, autoWidth: false, deferRender: true, searching: true, orderMulti: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: inScope.length > PER_PAGE ? "paging" : null },
    language: { emptyTable: "No row", zeroRecords: "No row passes the filters" },
    initComplete() { this.api().search.fixed("page", (_, row) => passes(row)); },
  });
  table.draw(false);
  table.on("draw", drawn);
  drawn();
}

/** After the table has drawn: ranks and plots, which depend on the rows that are shown. */
function drawn() {
  const [first] = table.order();
  if (first) state.sort = [shownColumns[first[0] - 1].name, first[1]];
  if (metricPlace.has(state.sort[0])) metric = state.sort[0];
  state.page = table.page();
  const shown = shownRows();
  const ranks = ranked(shown, metric);
  const axis = axisOf(shown, metric);
  for (const line of $("table-region").querySelectorAll("tbody tr[data-id]")) {
    const row = byId.get(line.dataset.id);
    line.querySelector(".place").textContent = ranks.has(row.id) ? `${ranks.get(row.id)}${row.tier === "unverified" ? "*" : ""}` : "–";
    line.querySelector(".is-plot .place")?.replaceChildren(...(axis ? [rowDrawing(row, axis)] : []));
  }
  const head = $("table-region").querySelector("th.is-plot .dt-column-title");
  head?.replaceChildren(el("span", {}, metric), ...(axis ? [axisDrawing(axis)] : []));
  const of = shown.length === inScope.length ? "" : ` of ${inScope.length}`;
  $("count").textContent = `${said}${shown.length}${of} row${inScope.length === 1 ? "" : "s"}, ranked by ${metric}`;
  $("clear").hidden = !state.filters.size && !state.q;
  picked();
}

const shownRows = () => table.rows({ search: "applied", order: "applied" }).data().toArray();
function narrowed() {
  said = "";
  table.page(0).draw();
}

// --- dialogs, downloads, theme ------------------------------------------------------------------------------------------

function open(heading, content) {
  $("dialog-title").textContent = heading;
  $("dialog-body").replaceChildren(...content);
  if (!$("dialog").open) $("dialog").showModal();
  $("dialog-title").focus();
  write();
}
function showRow(row) {
  state.row = row.id;
  open(title(row), details(row));
}
const showComparison = () => open("Comparison", comparison(...state.compare.map((id) => byId.get(id))));
$("close").addEventListener("click", () => $("dialog").close());
$("dialog").addEventListener("close", () => {
  const back = state.row && $("table-region").querySelector(`[data-row="${state.row}"]`);
  state.row = "";
  write();
  (back || $("compare")).focus();
});
$("dialog").addEventListener("click", (event) => event.target === $("dialog") && $("dialog").close());
$("compare").addEventListener("click", showComparison);
$("link").addEventListener("click", () => copy(location.href, $("link")));

$("download").addEventListener("click", (event) => {
  const format = event.target.dataset?.format;
  if (!format) return;
  const shown = shownRows();
  const ranks = ranked(shown, metric);
  const records = shown.map((row) => record(row, ranks.get(row.id), visible()));
  const scope = [state.board, ...SCOPE.filter((name) => state.scope[name] !== "").map((name) => label(name, state.scope[name]))].join(", ");
  const stem = `leaderboard-${state.board}`.replace(/[^\w.-]+/g, "_");
  if (format === "csv") save(`${stem}.csv`, "text/csv", asCsv(records));
  if (format === "json") save(`${stem}.json`, "application/json", `${JSON.stringify({ page: location.href, ranked_by: metric, rows: records }, null, 1)}\n`);
  if (format === "bib") save(`${stem}.bib`, "application/x-bibtex", asBibtex(shown));
  if (format === "tex") save(`${stem}.tex`, "application/x-tex", asLatex(shown, ranks, visible(), scope));
  $("download").open = false;
  $("download").querySelector("summary").focus();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.activeElement?.closest("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function theme(value) {
  if (value) document.documentElement.dataset.theme = value;
  $("theme").textContent = isDark() ? "Light colours" : "Dark colours";
}
$("theme").addEventListener("click", () => theme(isDark() ? "light" : "dark"));

// --- all of it ----------------------------------------------------------------------------------------------------------

function renderAll() {
  settle();
  const { setting, track, id_set: idSet, ood_set: oodSet } = state.scope;
  $("heading").textContent = `${label("setting", setting)}: ${idSet} against ${oodSet === data.average ? "the " : ""}${label("ood_set", oodSet)}`;
  const apart = SCOPE.slice(4).filter((name) => state.scope[name]).map((name) => ` ${named(name)}: ${state.scope[name]}.`);
  $("about").textContent = `Track ${track}: ${data.tracks[track]}.${apart.join("")}`;
  $("digest").textContent = `SHA-256 of this benchmark’s records: ${data.boards[state.board]}`;
  renderTabs();
  renderScope();
  renderFilters();
  renderTable();
  renderColumns();
  $("boards").querySelector("[aria-pressed=true]").scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Change the state by a control that is drawn anew, and keep the focus on it. */
function change(edit, fallback = "heading") {
  const key = document.activeElement?.dataset?.key;
  said = "";
  edit();
  renderAll();
  const again = key && [...document.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key);
  (again || $(fallback).hidden ? again ?? $("search") : $(fallback)).focus();
}

function start() {
  read();
  renderAll();
  if (state.row) showRow(byId.get(state.row));
}
$("summary").textContent = `${rows.length.toLocaleString("en")} results on ${boards.length} benchmark${boards.length === 1 ? "" : "s"}`;
theme();
narrow.addEventListener("change", renderAll);
addEventListener("hashchange", start);
start();
window.pageFor = { byId, csvCell, latex }; // for tests
document.documentElement.dataset.ready = Math.round(performance.now()); // milliseconds to the whole table
