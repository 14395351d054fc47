"""One file for each question, of the same name as in experiments/; a large one is a folder."""
