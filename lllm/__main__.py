"""python -m lllm: the command line."""

from lllm.cli import main

if __name__ == "__main__":
    main()
