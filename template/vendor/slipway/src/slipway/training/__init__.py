"""From rows to a bundle: the stages train, evaluate and export, and what they stand on."""
