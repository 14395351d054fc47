"""Reports on disk: the page of a question, and the book over all of them."""
