"""The command line: chooses and calls, holds no science, loads nothing heavy before a verb runs."""
