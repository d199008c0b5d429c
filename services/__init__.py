"""The four services. They never import each other; each is the same house with the same rooms."""
