"""Studies: one question each, on the toy world or on a model and data of your own."""
