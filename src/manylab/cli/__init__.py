"""The command line: one file per group of commands; commands return a Result, one place prints it."""
