"""How a run ends: judged, published, summed up, delivered; or failed, with a trace of why."""
