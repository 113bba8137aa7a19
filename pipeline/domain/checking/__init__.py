"""Bills of others and bills under other tariffs: CDRs verified, sessions re-rated. Pure."""
