"""Everything a person decides from, as one value: read from evidence, judged, and put together."""
