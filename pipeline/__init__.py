"""Billing-grade monitoring of EV charging sessions: bytes become events, events sessions, sessions rows."""
