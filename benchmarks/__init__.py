"""Speed measurements, run with one command: ``python -m benchmarks``.  Not tests: nothing here passes or fails.

To add a benchmark, put one module into this folder.  It is found by its name; nothing else is to be edited.
The module has

* ``NAME``: its name on the command line, that of the module;
* ``SUMMARY``: one line for ``--list``, without a full stop;
* ``add_arguments(parser)``: its own options, such as sizes, each with a default for the full-size run.  The
  suite's options (``--quick``, ``--threads``, ``--out``) are there already;
* ``QUICK``: option → value, the sizes that ``--quick`` puts in place of the defaults (an option that the user
  writes wins).  A quick run takes seconds;
* ``run(options) -> Report``: measures.  ``options`` holds the values of both sets of options.

`suite.measuring` has what ``run`` needs: `timed` for a function, `Measurement` and `Report` for what came out,
`say` for a line of progress.  The rules:

* A ratio is of two measurements of the same run, interleaved where they are short (`interleaved`).  A figure
  from another run or machine is never divided by.
* The limit is measured, not cited: beside a figure stands what the machine needs for the arithmetic, or the
  decoding, that no implementation can do without.
* Data are generated from a seed, into a temporary folder, and ``settings`` of the report states what they are.
* What can't run (a package is absent) is a `Measurement.skipped` with the reason, not an error and not a gap.
  A `UserError` is for what the user can mend.
* Module-level imports are the standard library, NumPy and this package; heavy or optional packages are
  imported where they are used, since ``--list`` imports every benchmark.

Machinery is in ``suite/``, what the benchmarks are made of in ``parts/``, published runs in ``results/``; the page
docs/benchmarks.md is made from these by ``python -m benchmarks page``.
"""
