// What is shown as CSV, JSON and LaTeX. The escapes are those of openood_multimodal/escapes.py.
const NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)|-)$/;
const LATEX = {
  "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", $: "\\$", "&": "\\&", "#": "\\#", _: "\\_", "%": "\\%",
  "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\textquotedbl{}",
};
const ALWAYS = ["protocol", "tier", "split", "runs", "std_over"]; // what makes a figure worth something travels with it

/** A spreadsheet takes no cell for a formula. */
function csvCell(value) {
  const guarded = /^[\s'"]*[=+\-@]/.test(value) && !NUMBER.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
const latex = (value) => Array.from(value, (character) => LATEX[character] ?? character).join("");

/** One row as name → value, the names as in the CSV that `leaderboard build` writes. */
function record(row, rank, shown) {
  const values = { benchmark: row.benchmark };
  for (const name of SCOPE) values[name] = row[name];
  values.rank = rank ?? null;
  for (const name of [...shown, ...ALWAYS]) {
    const column = columnOf.get(name);
    if (!column || column.kind === "plot") continue;
    if (column.kind === "metric") {
      const [low, high] = interval(row, name);
      Object.assign(values, { [name]: mean(row, name), [`${name}_std`]: std(row, name), [`${name}_ci_low`]: low, [`${name}_ci_high`]: high });
    } else if (name === "runs") {
      [values.n_partitions, values.n_seeds, values.n_runs] = [0, 1, 2].map((i) => row.counts[i] ?? null);
    } else if (column.kind === "text") values[name] = row[name];
    else if (!column.metric) values[name === "rank" ? "rank_in_input" : name] = column.value(row);
  }
  return values;
}

const isPercent = (name) => metricPlace.has(name.replace(/_(?:std|ci_low|ci_high)$/, "")) || name === "average_rank";

function asCsv(records) {
  const names = Object.keys(records[0] ?? {}).filter((name) => records.some((each) => each[name] !== null));
  const line = (each) => names.map((name) => csvCell(isPercent(name) ? decimals(each[name]) : String(each[name] ?? ""))).join(",");
  return `${[names.join(","), ...records.map(line)].join("\n")}\n`;
}

function asLatex(shownRows, ranks, shown, caption) {
  const cols = shown.map((name) => columnOf.get(name)).filter((column) => column.kind !== "plot");
  const head = ["\\#", ...cols.map((column) => latex(column.title).replace("↑", "$\\uparrow$").replace("↓", "$\\downarrow$"))];
  const body = shownRows.map((row) => [
    String(ranks.get(row.id) ?? "--"),
    ...cols.map((column) => {
      const deviation = column.kind === "metric" ? std(row, column.name) : null;
      return latex(String(column.show(row))).replace(" – ", "--") + (deviation === null ? "" : ` $\\pm$ ${decimals(deviation)}`);
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
