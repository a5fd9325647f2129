"""`python -m olla_tui` is the program `olla`."""

from olla_tui.cli.main import main

if __name__ == "__main__":
    main()
