"""Records of the electrocardiogram: what they are, how they are read, checked and made up."""
