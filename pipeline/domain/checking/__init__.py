"""Verifies the CDRs of others and re-rates sessions under other tariffs. Pure."""
