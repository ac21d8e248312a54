"""One self-contained HTML page per experiment, from files alone; and an index of all of them."""
