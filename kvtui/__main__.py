"""``python -m kvtui`` is the command ``kvtui``."""

from kvtui.tui.cli.entry import main

if __name__ == "__main__":
    main()
