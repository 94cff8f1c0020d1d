"""Terms -> state: objectives, optimizer, state, step, reference, checkpoint, metrics.

`objectives` make `(params, batch) -> (sum, (weight, metrics))` from a model and a
loss, `step.make_step` makes the compiled update from an objective and an optimizer,
`reference` keeps what the frozen model says of each row, `checkpoint` and `metrics`
write the run.
"""
