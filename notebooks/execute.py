"""Runs demo.ipynb from top to bottom and stores its outputs: ``python notebooks/execute.py [--to FILE]``.

Needs ``pip install 'kvtui[notebook]'``. Exit status 1, with nothing written, if a cell fails or if the result is too
large for a browser.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("demo.ipynb")
LARGEST = 1_500_000  # bytes
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGETS = "[controls: they work where the notebook runs, as in 'jupyter lab notebooks/demo.ipynb']"
CELL_SECONDS = 150  # a slower cell hangs; on an idle machine the whole notebook takes well under two minutes
ATTEMPTS = 2  # very rarely, a kernel never answers


def execute(source: Path, target: Path) -> str | None:
    """Run ``source`` in a new kernel and write it with its outputs to ``target``; return what went wrong, or None."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    problem = "never ran"
    for _ in range(ATTEMPTS):
        notebook = nbformat.read(source, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(source.parent)}},
        )
        try:
            client.execute()
            return _store(notebook, target)
        except CellTimeoutError as error:
            problem = str(error)
        except (CellExecutionError, DeadKernelError) as error:
            return str(error)
    return problem


def _store(notebook: Any, target: Path) -> str | None:
    """Write a notebook that was run; return what is wrong with it, or None."""
    import nbformat

    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if WIDGET in output.get("data", {}):  # where widgets do not run, their text is shown: the name of a class
                output["data"]["text/plain"] = NO_WIDGETS
    nbformat.validate(notebook)
    text = nbformat.writes(notebook)
    if len(text.encode()) > LARGEST:
        return f"the notebook with its outputs has {len(text.encode()):,} bytes; the limit is {LARGEST:,}"
    target.write_text(text + "\n", encoding="utf-8")
    return None


def main() -> int:
    """Parse the command line and run the notebook."""
    parser = argparse.ArgumentParser(description="Run demo.ipynb from top to bottom and store its outputs.")
    parser.add_argument("--to", type=Path, default=NOTEBOOK, metavar="FILE", help="output file, by default in place")
    arguments = parser.parse_args()
    started = time.perf_counter()
    try:
        problem = execute(NOTEBOOK, arguments.to)
    except ImportError:
        sys.stderr.write("this needs nbclient and Jupyter: pip install 'kvtui[notebook]'\n")
        return 2
    if problem:
        sys.stderr.write(problem + "\n")
        return 1
    sys.stderr.write(f"ran {NOTEBOOK.name} in {time.perf_counter() - started:.1f} s and wrote {arguments.to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
