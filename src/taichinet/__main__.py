"""`python -m taichinet` is the command `taichinet`; torchrun starts it so."""

from taichinet.cli.app import main

if __name__ == "__main__":
    main()
