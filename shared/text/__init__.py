"""Words for people: stored templates taken apart once, values made harmless, texts cut in bytes."""
