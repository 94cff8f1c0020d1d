"""Studies: one claim each, several runs, a table and a plot."""
