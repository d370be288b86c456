"""Three months of ads with defects, banners, a model and a queue, to see everything at work."""
