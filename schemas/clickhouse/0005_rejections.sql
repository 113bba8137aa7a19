-- The store reads topic `rejections`, which has no original bytes, in place of `dead-letters`: a place of its own in a table
-- of its own. Rows of before stay where they are until their time is over.
-- Identity: the place of the record in topic `rejections`. source_*: where the bad record was read.
CREATE TABLE IF NOT EXISTS rejections
(
    partition         Int32,
    offset            Int64,
    source_topic      LowCardinality(String),
    source_partition  Int32,
    source_offset     Int64,
    reason            LowCardinality(String),
    sent_at           DateTime64(3, 'UTC') COMMENT 'when the record was refused',
    inserted_at       DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (partition, offset)
TTL inserted_at + INTERVAL 13 MONTH
SETTINGS merge_with_ttl_timeout = 86400;

CREATE OR REPLACE VIEW dead_letters_by_reason AS
SELECT source_topic, reason, count() AS dead_letters, min(sent_at) AS first_at, max(sent_at) AS last_at
FROM
(
    SELECT source_topic, reason, sent_at FROM rejections FINAL
    UNION ALL
    SELECT source_topic, reason, sent_at FROM dead_letters FINAL
)
GROUP BY source_topic, reason;
