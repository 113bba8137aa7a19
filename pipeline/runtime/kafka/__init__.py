"""Kafka clients of the stages: what is read and produced, by librdkafka, each with its waits and its errors."""
