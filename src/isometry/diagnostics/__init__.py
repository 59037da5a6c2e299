"""From measurement to record.

Measured with torch: `statistics` of tensors; `recorder` with `layers`, `depth`, `units`, `recurrence` and `compiled` for
a pass's depth profile, `probe` for a pass of its own; `window` for an optimizer's steps; `nonfinite` for the first NaN.
Observed in a Trainer: `monitor`. Plain records, without torch: `history`, `profile`, `metrics`, and what `theory`
predicts.
"""
