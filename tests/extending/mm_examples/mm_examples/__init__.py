"""Components of another package, as docs/extending.md shows them."""
