"""Boot tests: what is asked of a booted image, how it is asked inside, and what the answers mean."""
