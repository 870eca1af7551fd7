"""What an image is made of, as a CycloneDX 1.6 document."""
