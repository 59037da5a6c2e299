"""Measure (`statistics`), observe (`monitor`), keep (`history`): pure function first, thin callback second."""
