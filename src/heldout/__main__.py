"""`python -m heldout` is the command `heldout`."""

from heldout.cli import main

main()
