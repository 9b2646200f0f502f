"""Pictures drawn by code, for when no real data set can be downloaded."""
