-- One row per version of a completed, rated, stripped session: the fields of pipeline/domain/outputs.py StrippedSession.
-- Bill lines and 15-minute slots live inside the row, so that a revision with fewer of them leaves none of the old ones.
--
-- ORDER BY: the identity is session_id; it fixes station_id (the id is a hash over it), which comes first so that one
-- station's sessions lie together. No PARTITION BY: a revision may correct or lose the times of a session, and
-- versions in two partitions are never merged.
-- TTL: 13 months after the session ended, by the clock of whoever has the better right to it: live data by its own
-- time but never later than its arrival (a charger's clock may run ahead), replays and simulations by their arrival.
CREATE TABLE IF NOT EXISTS sessions
(
    session_id         String,
    version            UInt64 COMMENT 'generation * 2^32 + revision; the highest wins',
    generation         UInt32,
    revision           UInt32,
    station_id         String,
    connector_id       Int32,
    site_id            LowCardinality(Nullable(String)),
    time_zone          LowCardinality(Nullable(String)),
    power_type         LowCardinality(Nullable(String)),
    started_at         Nullable(DateTime64(6, 'UTC')),
    ended_at           Nullable(DateTime64(6, 'UTC')),
    duration_s         Int64,
    charging_s         Int64,
    idle_s             Int64,
    energy_wh          Nullable(Int64) COMMENT 'NULL: not known, never 0 for unknown',
    estimated_wh       Int64 COMMENT 'the part of energy_wh that no register proves',
    unattributed_wh    Int64,
    start_register_wh  Nullable(Int64),
    stop_register_wh   Nullable(Int64),
    max_power_w        Nullable(Int64),
    status             LowCardinality(String),
    evidence           LowCardinality(String),
    quality            Array(LowCardinality(String)),
    flags              Array(LowCardinality(String)),
    billable           Bool,
    stop_reason        LowCardinality(Nullable(String)),
    driver             Nullable(String) COMMENT 'pseudonym of purpose analytics; NULL: no token was presented',
    bill_state         LowCardinality(String),
    held_reason        LowCardinality(Nullable(String)),
    currency           LowCardinality(Nullable(String)),
    total_excl_vat     Nullable(Decimal(18, 4)),
    total_incl_vat     Nullable(Decimal(18, 4)),
    payable_excl_vat   Nullable(Decimal(18, 4)),
    payable_incl_vat   Nullable(Decimal(18, 4)),
    tariff_id          LowCardinality(Nullable(String)),
    tariff_version     LowCardinality(Nullable(String)),
    lines Nested
    (
        kind            LowCardinality(String),
        dimension       LowCardinality(String),
        from_at         Nullable(DateTime64(6, 'UTC')),
        to_at           Nullable(DateTime64(6, 'UTC')),
        local_from      String,
        local_to        String,
        quantity        Decimal(18, 6),
        billed_quantity Decimal(18, 6),
        unit            LowCardinality(String),
        unit_price      Nullable(Decimal(18, 8)),
        amount_excl     Nullable(Decimal(18, 4)),
        tax_rate        Nullable(Decimal(9, 4)),
        tax_amount      Nullable(Decimal(18, 4)),
        amount_incl     Nullable(Decimal(18, 4)),
        tariff_id       LowCardinality(String),
        tariff_version  LowCardinality(String),
        element_index   Nullable(Int32),
        component_index Nullable(Int32),
        window          LowCardinality(String),
        reason          LowCardinality(String),
        assumptions     Array(String),
        evidence        Array(String),
        price_parts     Array(Tuple(part String, price String))
    ),
    slots Nested
    (
        start_at        DateTime64(6, 'UTC'),
        energy_wh       Int64,
        occupied_s      Int32,
        charging_s      Int32
    ),
    revision_reason    LowCardinality(String),
    superseded_by      Nullable(String),
    clock              LowCardinality(String),
    content_hash       String,
    inserted_at        DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (station_id, session_id)
TTL if(clock = 'live', least(toDateTime(coalesce(ended_at, started_at, inserted_at)), inserted_at), inserted_at) + INTERVAL 13 MONTH
SETTINGS merge_with_ttl_timeout = 86400;

-- The sessions as they stand: highest version of each, void ones left out. placed_at puts a session into a period; a
-- session without any time is placed in 1970 rather than lost from sums. A view keeps the columns that its table had
-- when it was created: a migration that adds one creates the views again.
CREATE VIEW IF NOT EXISTS sessions_current AS
SELECT *, coalesce(started_at, ended_at, toDateTime64(0, 6, 'UTC')) AS placed_at
FROM sessions FINAL
WHERE status != 'void';

CREATE VIEW IF NOT EXISTS session_lines AS
SELECT
    session_id, station_id, connector_id, site_id, currency, bill_state, clock, placed_at, position,
    line.kind AS kind, line.dimension AS dimension, line.from_at AS from_at, line.to_at AS to_at,
    line.local_from AS local_from, line.local_to AS local_to,
    line.quantity AS quantity, line.billed_quantity AS billed_quantity, line.unit AS unit,
    line.unit_price AS unit_price, line.amount_excl AS amount_excl, line.tax_rate AS tax_rate,
    line.tax_amount AS tax_amount, line.amount_incl AS amount_incl,
    line.tariff_id AS tariff_id, line.tariff_version AS tariff_version,
    line.element_index AS element_index, line.component_index AS component_index,
    line.window AS window, line.reason AS reason
FROM sessions_current
ARRAY JOIN lines AS line, arrayEnumerate(lines.kind) AS position;

-- Quarters of an hour UTC; those of a session re-add to it.
CREATE VIEW IF NOT EXISTS session_slots AS
SELECT
    session_id, station_id, connector_id, site_id, time_zone, clock, placed_at,
    slot.start_at AS start_at, slot.energy_wh AS energy_wh,
    slot.occupied_s AS occupied_s, slot.charging_s AS charging_s
FROM sessions_current
ARRAY JOIN slots AS slot;

CREATE VIEW IF NOT EXISTS station_demand_hourly AS
SELECT
    station_id, site_id, toStartOfHour(start_at) AS hour_utc,
    sum(energy_wh) / 1000 AS energy_kwh, sum(occupied_s) / 60 AS occupied_minutes, sum(charging_s) / 60 AS charging_minutes
FROM session_slots
GROUP BY station_id, site_id, hour_utc;

-- Final bills only; adjustments (minimum, maximum, rounding) have no window and show as their kind.
CREATE VIEW IF NOT EXISTS revenue_by_window AS
SELECT
    currency, tariff_id, if(window = '', kind, window) AS tariff_window, dimension, unit,
    sum(billed_quantity) AS quantity, sum(amount_excl) AS excl_vat, sum(amount_incl) AS incl_vat
FROM session_lines
WHERE bill_state = 'FINAL'
GROUP BY currency, tariff_id, tariff_window, dimension, unit;

CREATE VIEW IF NOT EXISTS held_bills AS
SELECT session_id, station_id, connector_id, placed_at, ended_at, energy_wh, held_reason, revision
FROM sessions_current
WHERE bill_state = 'HELD';
