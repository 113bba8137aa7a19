-- Which records became dead letters and why; never their content or detail, which may hold identifiers.
-- Identity: the place of the dead letter itself in its topic. source_*: where the bad record was read.
CREATE TABLE IF NOT EXISTS dead_letters
(
    partition         Int32,
    offset            Int64,
    source_topic      LowCardinality(String),
    source_partition  Int32,
    source_offset     Int64,
    reason            LowCardinality(String),
    sent_at           DateTime64(3, 'UTC') COMMENT 'append time of the dead letter',
    inserted_at       DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (partition, offset)
TTL inserted_at + INTERVAL 13 MONTH
SETTINGS merge_with_ttl_timeout = 86400;

CREATE VIEW IF NOT EXISTS dead_letters_by_reason AS
SELECT source_topic, reason, count() AS dead_letters, min(sent_at) AS first_at, max(sent_at) AS last_at
FROM dead_letters FINAL
GROUP BY source_topic, reason;
