"""Making exported models: SavedModels that are codecs, image in, file out, and back."""
