"""From arms to verdicts: tables, rules, laws, what is published, what makes arms comparable."""
