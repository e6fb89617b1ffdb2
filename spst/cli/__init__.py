"""The command line of the library, `python -m spst`: one module per group of commands."""
