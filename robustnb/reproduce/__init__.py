"""What makes the book: registry, runs, ledger, pages, and the `robustnb` command."""
