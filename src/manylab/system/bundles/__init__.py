"""A site in one file, for machines without internet: how it is packed, checked and opened."""
