"""`python -m taichinet`: the command line, for launchers such as torchrun that start a module."""

from taichinet.cli.app import main

main()
