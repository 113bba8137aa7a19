-- Alerts, raised and cleared: the fields of pipeline/domain/outputs.py Alert. An alert never changes, so a repeat is the
-- same row; the identity is (alert_id, state), and alert_id fixes the station.
CREATE TABLE IF NOT EXISTS anomalies
(
    alert_id      String,
    rule          LowCardinality(String),
    state         LowCardinality(String),
    severity      LowCardinality(String),
    station_id    String,
    connector_id  Int32,
    site_id       LowCardinality(Nullable(String)),
    session_id    Nullable(String),
    at            DateTime64(6, 'UTC') COMMENT 'event time of the cause (raised) or of its end (cleared)',
    raised_at     DateTime64(6, 'UTC'),
    value         String,
    threshold     String,
    detail        String,
    evidence      Array(String),
    clock         LowCardinality(String),
    inserted_at   DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY (station_id, alert_id, state)
TTL if(clock = 'live', least(toDateTime(at), inserted_at), inserted_at) + INTERVAL 13 MONTH
SETTINGS merge_with_ttl_timeout = 86400;

-- One row per alert, as it was raised; cleared_at is NULL while it lasts.
CREATE VIEW IF NOT EXISTS anomalies_current AS
SELECT
    station_id, alert_id, clock,
    argMin(rule, state = 'cleared') AS rule, argMin(severity, state = 'cleared') AS severity,
    argMin(connector_id, state = 'cleared') AS connector_id, argMin(site_id, state = 'cleared') AS site_id,
    argMin(session_id, state = 'cleared') AS session_id,
    min(raised_at) AS raised_at, maxOrNullIf(at, state = 'cleared') AS cleared_at,
    argMin(value, state = 'cleared') AS value, argMin(threshold, state = 'cleared') AS threshold,
    argMin(detail, state = 'cleared') AS detail
FROM anomalies FINAL
GROUP BY station_id, alert_id, clock;
