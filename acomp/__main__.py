"""`python -m acomp` is `acomp`."""

from acomp.cli import main

main()
