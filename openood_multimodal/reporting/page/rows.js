// The rows of the data block, the columns of the table, and how a value is written. Texts are only ever set as text.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const places = (names) => new Map(names.map((name, place) => [name, place]));
const metricPlace = places(data.metrics);
const lowerIsBetter = new Set(data.lower);
const text = (place) => data.strings[place];
const rows = data.rows.map((row) => ({ ...row, ...Object.fromEntries(data.fields.map((name, i) => [name, text(row.text[i])])) }));
const byId = new Map(rows.map((row) => [row.id, row]));

const SCOPE = ["setting", ...data.field.filter((name) => name !== "setting")]; // rows that differ in these are never shown together
const FILTERS = ["modalities", "networks", "training", "postprocessor", "engine", "tier"];
const NAMES = {
  training: "Training", postprocessor: "Score", modalities: "Modalities", networks: "Networks", fit_on: "Fitted on",
  id_set: "ID set", ood_set: "OOD set", csid: "Full spectrum", condition: "Test condition", auxiliary: "Auxiliary data",
  n_id: "ID samples", n_ood: "OOD samples", std_over: "± over", split: "Split digest",
};
const EMPTY = { csid: "ID test set only", condition: "clean test sets", auxiliary: "none", setting: "Setting not stated" };
const SETTINGS = { near: "Near-OOD", far: "Far-OOD" };
const named = (name) => NAMES[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
const plusSpaced = (value) => value.replaceAll("+", " + ");

/** What readers see in place of a field's value. */
function label(name, value) {
  if (name === "setting" && value in SETTINGS) return SETTINGS[value];
  if (value === "") return EMPTY[name] ?? "not stated";
  if (name === "ood_set" && value === data.average) return "average over OOD sets";
  if (name === "modalities" || name === "networks") return plusSpaced(value);
  return data.methods[name]?.[value]?.title ?? value;
}

const cell = (row, name) => (row[name] === "" ? "" : label(name, row[name]));
const mean = (row, metric) => row.mean[metricPlace.get(metric)];
const std = (row, metric) => row.std[metricPlace.get(metric)];
const interval = (row, metric) => [row.low[metricPlace.get(metric)], row.high[metricPlace.get(metric)]];
const decimals = (value, digits = 2) => (value == null ? "" : value.toFixed(digits));
const arrow = (metric) => (lowerIsBetter.has(metric) ? "↓" : "↑");
const title = (row) => [cell(row, "training"), cell(row, "postprocessor")].filter(Boolean).join(", ");
const runsOf = (row) => {
  const [partitions, seeds, runs] = row.counts;
  if (!row.counts.length) return "";
  return runs === partitions * seeds ? `${partitions} × ${seeds}` : `${runs} of ${partitions} × ${seeds}`;
};

/** Columns: name, title, kind, what a row is sorted by, and what it shows. */
const columns = [
  ...["training", "postprocessor", "modalities", "networks"].map(textColumn),
  ...data.metrics.map((name) => ({
    name, title: `${name} ${arrow(name)}`, kind: "metric", value: (row) => mean(row, name), show: (row) => decimals(mean(row, name)),
  })),
  ...data.metrics.filter((name) => rows.some((row) => interval(row, name)[0] !== null)).map((name) => ({
    name: `${name}_ci`, title: `${name} 95 % interval`, kind: "number", metric: name, value: (row) => interval(row, name)[0],
    show: (row) => (interval(row, name)[0] === null ? "" : interval(row, name).map((each) => decimals(each)).join(" – ")),
  })),
  { name: "runs", title: "Runs", kind: "number", value: (row) => row.counts[2] ?? null, show: runsOf },
  ...data.fields.filter((name) => !["benchmark", "training", "postprocessor", "modalities", "networks", ...SCOPE].includes(name)).map(textColumn),
  { name: "rank", title: "Rank in its input", kind: "number", value: (row) => row.ranks[0], show: (row) => row.ranks[0] ?? "" },
  { name: "rank_all", title: "Rank over all inputs", kind: "number", value: (row) => row.ranks[1], show: (row) => row.ranks[1] ?? "" },
  { name: "average_rank", title: "Mean rank", kind: "number", value: (row) => row.ranks[2], show: (row) => decimals(row.ranks[2]) },
  { name: "plot", title: "Plot", kind: "plot" },
];
const columnOf = new Map(columns.map((column) => [column.name, column]));

function textColumn(name) {
  return { name, title: named(name), kind: "text", value: (row) => cell(row, name).toLowerCase(), show: (row) => cell(row, name) };
}

/** Row id → its rank by `metric` among `shown`; equal values share one. */
function ranked(shown, metric) {
  const sign = lowerIsBetter.has(metric) ? 1 : -1;
  const sorted = shown.filter((row) => mean(row, metric) !== null).sort((a, b) => sign * (mean(a, metric) - mean(b, metric)));
  const ranks = new Map();
  sorted.forEach((row, i) => {
    const before = sorted[i - 1];
    ranks.set(row.id, before && mean(before, metric) === mean(row, metric) ? ranks.get(before.id) : i + 1);
  });
  return ranks;
}

/** Make an element: properties, attributes (`aria-label`, `data-x`), children (texts or nodes). */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) name in node ? (node[name] = value) : node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}
