"""The suite's tests; a package, so that its helpers are imported from this checkout and no other."""
