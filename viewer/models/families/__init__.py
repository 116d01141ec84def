"""One file a family; all are imported on first use (viewer.models.family)."""
