"""The gates an image must pass, one file for each subject; `registry` lists them all."""
