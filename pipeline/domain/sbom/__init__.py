"""SBOMs: CycloneDX 1.6 documents of images, made of a scanner's findings and the image's own files."""
