"""Prints the programs: `python -m experiments`."""

import experiments

print(experiments.__doc__)
