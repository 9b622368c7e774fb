"""The suite's machinery: the command, measuring, the machine, results as JSON, tables and the page."""
