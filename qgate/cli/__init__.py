"""The command line beside pytest: `qgate` and `python -m qgate`."""
