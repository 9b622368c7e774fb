// Views of single rows: the plot in a row, the details of one, the comparison of two.
const SVG = "http://www.w3.org/2000/svg";
const PLOT = { width: 180, height: 20, pad: 8 };
// two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom
const T = [
  12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788, 2.1604, 2.1448, 2.1314,
  2.1199, 2.1098, 2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];
const Z = 1.959964;
const quantile = (df) => T[df - 1] ?? Z + (Z ** 3 + Z) / (4 * df) + (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / (96 * df ** 2);
/** Colour and kind of mark of a row's training method, or of its score where none is named. */
const styleOf = (row) => (row.training ? data.methods.training[row.training] : data.methods.postprocessor[row.postprocessor]).style;
const colour = (row) => `c${styleOf(row)[0]}`;
const MARKS = [
  (x, y) => ["circle", { cx: x, cy: y, r: 4 }],
  (x, y) => ["rect", { x: x - 3.5, y: y - 3.5, width: 7, height: 7 }],
  (x, y) => ["path", { d: `M${x} ${y - 4.5}l4.5 8h-9z` }],
  (x, y) => ["path", { d: `M${x} ${y - 5}l5 5l-5 5l-5 -5z` }],
];

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function mark(x, y, kind) {
  const [tag, attributes] = MARKS[kind](x, y);
  return shape(tag, { ...attributes, class: "mark" });
}

/** The axis that all shown rows of `metric` fit on: bounds and ticks, round numbers. */
function axisOf(shown, metric) {
  const ends = shown.filter((row) => mean(row, metric) !== null).map((row) => {
    const [value, deviation, bounds] = [mean(row, metric), std(row, metric) ?? 0, interval(row, metric)];
    return [Math.min(value - deviation, bounds[0] ?? value), Math.max(value + deviation, bounds[1] ?? value)];
  });
  if (!ends.length) return null;
  // the worst tenth may lie outside: a few failures would leave the others no room
  const nth = (values, share) => values.sort((a, b) => a - b)[Math.round(share * (values.length - 1))];
  const trim = lowerIsBetter.has(metric) ? [0, 0.9] : [0.1, 1];
  const [low, high] = [0, 1].map((i) => nth(ends.map((each) => each[i]), trim[i]));
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find((each) => (high - low) / each <= 3) ?? 50;
  const from = Math.floor(Math.max(low, 0) / step) * step;
  const to = Math.min(100, Math.max(Math.ceil(high / step), Math.round(from / step) + 1) * step);
  const ticks = Array.from({ length: Math.floor((to - from) / step + 1e-6) + 1 }, (_, i) => from + i * step);
  const at = (value) => PLOT.pad + ((value - from) / (to - from)) * (PLOT.width - 2 * PLOT.pad);
  return { metric, ticks, at, from, to, digits: step < 1 ? 1 : 0 };
}

const drawing = (...children) => shape("svg", { width: PLOT.width, height: PLOT.height, class: "plot", "aria-hidden": "true" }, ...children);
const grid = (axis) => axis.ticks.map((tick) => shape("line", { x1: axis.at(tick), x2: axis.at(tick), y1: 0, y2: PLOT.height, class: "grid" }));

function axisDrawing(axis) {
  return drawing(...axis.ticks.map((tick) =>
    shape("text", { x: axis.at(tick), y: 14, "text-anchor": "middle" }, tick.toFixed(axis.digits))));
}

function rowDrawing(row, axis) {
  const [value, deviation, [low, high], y] = [mean(row, axis.metric), std(row, axis.metric), interval(row, axis.metric), PLOT.height / 2];
  if (value === null) return drawing(...grid(axis));
  if (value < axis.from || value > axis.to) {
    const low = value < axis.from;
    return drawing(...grid(axis), shape("g", { class: colour(row) }, shape("path", { d: low ? `M7 ${y - 4}L1 ${y}L7 ${y + 4}` : `M${PLOT.width - 7} ${y - 4}l6 4l-6 4`, class: "beyond" })));
  }
  const inside = (each) => axis.at(Math.min(axis.to, Math.max(axis.from, each)));
  const line = (from, to, kind) => shape("line", { x1: inside(from), x2: inside(to), y1: y, y2: y, class: kind });
  return drawing(
    ...grid(axis),
    shape("g", { class: colour(row) },
      ...(low === null ? [] : [line(low, high, "thin")]),
      ...(deviation === null ? [] : [line(value - deviation, value + deviation, "thick")]),
      mark(axis.at(value), y, styleOf(row)[1])),
  );
}

function sheet(head, body, caption, kind = "num") {
  const line = (cells) => cells.map((each, i) => (i ? el("td", { className: kind }, each) : el("th", { scope: "row" }, each)));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption }, el("table", { className: "plain" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...head.map((each, i) => el("th", { scope: "col", className: i ? kind : "" }, each)))),
    el("tbody", {}, ...body.map((cells) => el("tr", {}, ...line(cells))))));
}

const fieldList = (pairs) => el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function copied(content, what) {
  const button = el("button", { type: "button", className: "quiet" }, `Copy ${what}`);
  button.addEventListener("click", () => copy(content, button));
  return el("div", { className: "copied" }, el("pre", { tabIndex: 0, "aria-label": what }, content), button);
}

async function copy(content, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(content);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here: copy by hand";
  }
  setTimeout(() => (button.textContent = before), 2000);
}

function papers(row) {
  const found = ["training", "postprocessor"].map((name) => data.methods[name][row[name]]).filter(Boolean);
  const links = found.filter((each) => each.paper).map((each) => el("li", {}, el("a", { href: each.paper, rel: "noreferrer" }, each.title)));
  const entries = asBibtex([row]);
  if (!entries) return [];
  return [el("h3", {}, "Papers"), el("ul", {}, ...links), copied(entries, "BibTeX")];
}

/** All that is known of one row. */
function details(row) {
  const figures = data.metrics.filter((name) => mean(row, name) !== null).map((name) => [
    columnOf.get(name).title, figure(name, mean(row, name)), figure(name, std(row, name)), interval(row, name)[0] === null ? "" : columnOf.get(`${name}_ci`).show(row),
  ]);
  const fields = ["benchmark", ...data.fields.filter((name) => name !== "benchmark")].filter((name) => row[name] !== "");
  const byPartition = (a, b) => text(a[0]).localeCompare(text(b[0]), "en", { numeric: true }) || a[1] - b[1];
  const runs = [...row.runs].sort(byPartition).map(([partition, seed, draw, ...values]) =>
    [text(partition), seed < 0 ? "" : String(seed), ...(hasDraws(row) ? [String(draw)] : []), ...values.map((each, i) => figure(data.metrics[i], each))]);
  const records = row.records.map((each) => {
    const values = data.record.map((name, i) => [named(name), text(each[i])]).filter(([, value]) => value !== "");
    return el("details", { open: row.records.length === 1 }, el("summary", {}, `Run ${text(each[0])}`), fieldList(values.map(([name, value]) => [name, el("code", {}, value)])));
  });
  const commands = row.command.map(text).join("\n");
  return [
    el("p", { className: "sub" }, where(row)),
    sheet(["Metric", "Mean", "±", "95 % interval"], figures, "Metrics, percent unless named otherwise"),
    ...(runs.length > 1 ? [sheet(["Partition", "Seed", ...(hasDraws(row) ? ["Draw"] : []), ...data.metrics], runs, `${runs.length} runs`)] : []),
    el("h3", {}, "Record"), fieldList(fields.map((name) => [named(name), label(name, row[name]) + (label(name, row[name]) === row[name] ? "" : ` (${row[name]})`)])),
    ...(row.counts.length ? [el("h3", {}, "Runs and SHA-256 digests"), ...records] : []),
    el("h3", {}, "Reproduce"),
    ...(commands ? [copied(commands, "command"),
      el("p", { className: "hint" }, "Words in capitals are paths of yours. Settings other than the configs’ are not in it; the digests training and config tell whether a repetition had the same.")]
      : [el("p", {}, "The record doesn’t tell by which command it was made.")]),
    ...papers(row),
  ];
}

const hasDraws = (row) => row.runs.some(([, , draw]) => draw >= 0);
const where = (row) => [row.benchmark, ...SCOPE.filter((name) => row[name] !== "").map((name) => label(name, row[name]))].join(" · ");

/** Differences a − b of `metric`, paired by partition where both have several, else by seed; null without pairs. */
function paired(a, b, metric) {
  const place = metricPlace.get(metric) + 3;
  const keyed = (row) => new Map(row.runs.filter((run) => run[place] !== null).map((run) => [run.slice(0, 3).join("\n"), run]));
  const [ofA, ofB] = [keyed(a), keyed(b)];
  const both = [...ofA.keys()].filter((key) => ofB.has(key));
  const byPartition = new Map();
  for (const key of both) {
    const partition = ofA.get(key)[0];
    byPartition.set(partition, [...(byPartition.get(partition) ?? []), ofA.get(key)[place] - ofB.get(key)[place]]);
  }
  const average = (values) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const unit = byPartition.size > 1 ? "partitions" : "seeds";
  const differences = byPartition.size > 1 ? [...byPartition.values()].map(average) : [...byPartition.values()].flat();
  if (!differences.length) return null;
  const [n, middle] = [differences.length, average(differences)];
  const variance = differences.reduce((sum, each) => sum + (each - middle) ** 2, 0) / (n - 1);
  return { n, unit, mean: middle, half: n > 1 ? quantile(n - 1) * Math.sqrt(variance / n) : null };
}

const signed = (metric, value) => (value < 0 ? "−" : "+") + figure(metric, Math.abs(value));

function comparison(a, b) {
  const line = (metric) => {
    const pair = paired(a, b, metric);
    const half = pair?.half ?? null;
    return [
      columnOf.get(metric).title, figure(metric, mean(a, metric)), figure(metric, mean(b, metric)), signed(metric, mean(a, metric) - mean(b, metric)),
      pair ? signed(metric, pair.mean) : "", half === null ? "" : `${signed(metric, pair.mean - half)} to ${signed(metric, pair.mean + half)}`, pair ? `${pair.n} ${pair.unit}` : "",
    ];
  };
  const shared = data.metrics.filter((name) => mean(a, name) !== null && mean(b, name) !== null);
  const differing = data.fields.filter((name) => a[name] !== b[name]);
  const unverified = [["A", a], ["B", b]].filter(([, row]) => row.tier === "unverified").map(([name]) => name);
  const sameSplit = a.split && a.split === b.split;
  return [
    el("p", { className: "sub" }, where(a)),
    el("p", {}, el("strong", {}, "A "), title(a), el("br"), el("strong", {}, "B "), title(b)),
    sheet(["Metric", "A", "B", "A − B", "Paired", "95 % interval", "Pairs"], shared.map(line), "Metrics, percent unless named otherwise"),
    el("p", { className: "hint" }, "Paired: mean difference over class partitions that both have (seeds averaged first), or over seeds where there is one partition, with its t-interval. Partitions of one dataset share samples, so the interval is indicative."),
    ...(unverified.length ? [el("p", { className: "hint" }, `Unverified: ${unverified.join(" and ")}. Read in a summary of the paper, not in its tables.`)] : []),
    ...(sameSplit ? [] : [el("p", { className: "hint" }, "Nothing shows that both rest on the same split.")]),
    el("h3", {}, "In what they differ"),
    sheet(["Field", "A", "B"], differing.map((name) => [named(name), cell(a, name) || "–", cell(b, name) || "–"]), "Fields", "words"),
  ];
}
