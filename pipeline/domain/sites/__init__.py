"""Sites: what they are, and what a site sees of its stations: occupancy, availability, outages. Pure."""
