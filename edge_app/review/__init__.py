"""Words that act: what the operators' words say of a threshold, and the card of a bundle."""
