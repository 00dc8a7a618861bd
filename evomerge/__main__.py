"""`python -m evomerge` is the console script `evomerge`."""

from evomerge.cli import main

if __name__ == "__main__":
    main()
