"""Studies: one question each, in the toy world and on models of your own."""
