"""Drawing, from plain data: no torch, no lightning. matplotlib is imported in `plots` alone, inside its functions."""
