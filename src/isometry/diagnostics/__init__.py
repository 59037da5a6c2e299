"""Measure (`statistics`), observe (`monitor`), keep (`history`): three rooms, pure function first, thin callback second."""
