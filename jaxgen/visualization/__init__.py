"""Pictures: grids of images, animations, curves, bars and maps."""
