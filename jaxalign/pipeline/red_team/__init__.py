"""Red teaming: suites, answers, judges and report."""
