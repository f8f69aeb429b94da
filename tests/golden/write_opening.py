"""Writes what the page of the built-in model opens with. Give `python tests/golden/write_opening.py` where that changed."""

from sightline.serve.opening import write_opening
from sightline.serve.workshop import BUILTIN, Workshop

if __name__ == "__main__":
    workshop = Workshop()
    workshop.opening = None
    write_opening(BUILTIN, workshop)
