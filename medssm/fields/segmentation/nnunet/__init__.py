"""The one place that imports nnunetv2: its rules, our scheduling and safety around them."""
