"""Object detection: boxes, and masks where the network makes them."""
