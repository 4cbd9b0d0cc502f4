"""Key pairs, tokens, and who may connect."""
