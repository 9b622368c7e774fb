// What is shown as CSV, JSON, LaTeX and BibTeX, the same as by openood_multimodal/reporting/exports.py.
const NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)|-)$/;
/** A spreadsheet takes no cell for a formula. */
function csvCell(value) {
  const guarded = /^[\s'"]*[=+\-@]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
const latex = (value) => Array.from(value, (character) => data.latex[character] ?? character).join("");

/** The BibTeX entries of the methods of rows, each once. */
function asBibtex(shownRows) {
  const methods = shownRows.flatMap((row) => ["training", "postprocessor"].map((name) => data.methods[name][row[name]]?.bibtex ?? {}));
  const entries = Object.assign({}, ...methods);
  return Object.keys(entries).sort().map((key) => entries[key]).join("\n");
}

/** One row as name → value, the names as in the CSV that `leaderboard build` writes. */
function record(row, rank, shown) {
  const values = { benchmark: row.benchmark };
  for (const name of SCOPE) values[name] = row[name];
  values.rank = rank ?? null;
  for (const name of [...shown, ...data.always]) {
    const column = columnOf.get(name);
    if (!column || column.kind === "plot" || column.kind === "interval") continue;
    if (column.kind === "metric") {
      const [low, high] = interval(row, name);
      Object.assign(values, { [name]: mean(row, name), [`${name}_std`]: std(row, name), [`${name}_ci_low`]: low, [`${name}_ci_high`]: high });
    } else if (name === "runs") {
      [values.n_partitions, values.n_seeds, values.n_runs] = [0, 1, 2].map((i) => row.counts[i] ?? null);
    } else if (column.kind === "text") values[name] = row[name];
    else values[name === "rank" ? "rank_in_input" : name] = column.value(row);
  }
  return values;
}

const metricOf = (name) => name.replace(/_(?:std|ci_low|ci_high)$/, "");
const isNumber = (name) => metricPlace.has(metricOf(name)) || name === "average_rank";

function asCsv(records) {
  const names = Object.keys(records[0] ?? {}).filter((name) => records.some((each) => each[name] !== null));
  const line = (each) => names.map((name) => csvCell(isNumber(name) ? figure(metricOf(name), each[name]) : String(each[name] ?? ""))).join(",");
  return `${[names.join(","), ...records.map(line)].join("\n")}\n`;
}

function asLatex(shownRows, ranks, shown, caption) {
  const cols = shown.map((name) => columnOf.get(name)).filter((column) => column.kind !== "plot");
  const head = ["\\#", ...cols.map((column) => latex(column.title).replace("↑", "$\\uparrow$").replace("↓", "$\\downarrow$"))];
  const body = shownRows.map((row) => [
    String(ranks.get(row.id) ?? "--"),
    ...cols.map((column) => {
      const deviation = column.kind === "metric" ? std(row, column.name) : null;
      return (column.kind === "text" ? latex(column.show(row)) : latex(String(column.show(row))).replace(" – ", "--").replace("×", "$\\times$")) + (deviation === null ? "" : ` $\\pm$ ${figure(column.name, deviation)}`);
    }),
  ]);
  return [
    "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}",
    "\\begin{table}", "\\centering", `\\caption{${latex(caption)}}`,
    `\\begin{tabular}{r${cols.map((column) => (column.kind === "text" ? "l" : "r")).join("")}}`, "\\toprule",
    `${head.join(" & ")} \\\\`, "\\midrule", ...body.map((cells) => `${cells.join(" & ")} \\\\`), "\\bottomrule",
    "\\end{tabular}", "\\end{table}", "",
  ].join("\n");
}

function save(name, type, content) {
  const link = el("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
