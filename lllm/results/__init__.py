"""Run directories: read and written as files alone, indexed, compared, told apart. Nothing here imports torch."""
