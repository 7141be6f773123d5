"""What leaves this project: MONAI bundles, exported programs, ONNX graphs, and their proof."""
