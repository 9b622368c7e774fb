// The rows of the data block, the columns of the table, and how a value is written. Texts are only ever set as text.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const places = (names) => new Map(names.map((name, place) => [name, place]));
const metricPlace = places(data.metrics);
const lowerIsBetter = new Set(data.lower);
const text = (place) => data.strings[place];
const rows = data.rows.map((row) => ({ ...row, ...Object.fromEntries(data.fields.map((name, i) => [name, text(row.text[i])])) }));
const byId = new Map(rows.map((row) => [row.id, row]));

const SCOPE = data.scope; // rows that differ in these are never shown together
const FILTERS = ["modalities", "networks", "training", "postprocessor", "engine", "tier"];
const named = (name) => data.names[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
const plusSpaced = (value) => value.replaceAll("+", " + ");

/** What readers see in place of a field's value. */
function label(name, value) {
  if (value === "") return data.empty[name] ?? "not stated";
  if (name === "setting") return data.settings[value] ?? value;
  if (name === "ood_set" && value === data.average) return "average over OOD sets";
  if (name === "modalities" || name === "networks") return plusSpaced(value);
  return data.methods[name]?.[value]?.title ?? value;
}

const cell = (row, name) => (row[name] === "" ? "" : label(name, row[name]));
const mean = (row, metric) => row.mean[metricPlace.get(metric)];
const std = (row, metric) => row.std[metricPlace.get(metric)];
const interval = (row, metric) => [row.low[metricPlace.get(metric)], row.high[metricPlace.get(metric)]];
const decimals = (value, digits = 2) => (value == null ? "" : value.toFixed(digits));
const figure = (metric, value) => decimals(value, data.digits[metric]);
const title = (row) => [cell(row, "training"), cell(row, "postprocessor")].filter(Boolean).join(", ");
const runsOf = (row) => {
  const [partitions, seeds, runs] = row.counts;
  if (!row.counts.length) return "";
  return runs === partitions * seeds ? `${partitions} × ${seeds}` : `${runs} of ${partitions} × ${seeds}`;
};

/** What a row is sorted by, and what it shows, for each kind of column. */
const RANKS = ["rank", "rank_all", "average_rank"];
const KINDS = {
  text: (name) => ({ value: (row) => cell(row, name).toLowerCase(), show: (row) => cell(row, name) }),
  metric: (name) => ({ value: (row) => mean(row, name), show: (row) => figure(name, mean(row, name)) }),
  interval: (_, metric) => ({ value: (row) => interval(row, metric)[0], show: (row) => (interval(row, metric)[0] === null ? "" : interval(row, metric).map((each) => decimals(each)).join(" – ")) }),
  number(name) {
    if (name === "runs") return { value: (row) => row.counts[2] ?? null, show: runsOf };
    const rank = (row) => row.ranks[RANKS.indexOf(name)];
    return { value: rank, show: (row) => (name === "average_rank" ? decimals(rank(row)) : rank(row) ?? "") };
  },
  plot: () => ({}),
};
const columns = data.columns.map((column) => ({ ...column, ...KINDS[column.kind](column.name, column.metric) }));
const columnOf = new Map(columns.map((column) => [column.name, column]));
const scopes = new Map(data.scopes.map(([values, shown, differing]) => [values.map(text).join("\n"), { shown, differing }]));

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
