"""WeCom's server API: credentials, tokens, sends and what became of them."""
