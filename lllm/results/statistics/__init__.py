"""Statistics of a table, from numbers alone: intervals, families of comparisons, and what so many seeds can show."""
