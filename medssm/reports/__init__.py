"""What a person reads: tables, pictures, one HTML file."""
