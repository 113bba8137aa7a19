"""Laptop stand-ins for a Kafka broker and a ClickHouse server; only the command line and tests use them."""
