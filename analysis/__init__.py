"""From recorded trials to tables, figures and verdicts: load, compute (pure), draw, judge."""
