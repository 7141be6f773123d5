"""Speed and quality, measured side by side in one run; no figure over a red test."""
