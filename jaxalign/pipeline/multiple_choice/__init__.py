"""Multiple choice by likelihood: rows, scores and report."""
