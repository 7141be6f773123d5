"""Tables from official checkpoint keys to ours, and the loader that uses them."""
