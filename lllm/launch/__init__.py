"""How an experiment becomes runs, and runs become processes."""
