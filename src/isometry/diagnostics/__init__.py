"""From measurement to record.

Measured with torch: `statistics` of tensors; the depth profile of a pass by `recorder`, with `layers`, `calls`,
`depth`, `chain`, `units`, `recurrence`, `targets`, `hooks` and `compiled`, and by `probe` in a pass of its own
(`unchanged`); an optimizer's steps by `window`; the first NaN by `nonfinite`. Observed in a Trainer: `monitor`. Plain
records, without torch: `history`, `profile`, `metrics`, and what `theory` predicts.
"""
