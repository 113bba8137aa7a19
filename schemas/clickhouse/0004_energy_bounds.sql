-- Between which bounds the true energy of a session lies, and for how long nobody observed it. Rows of before say NULL, 0.
ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS energy_low_wh Nullable(Int64) COMMENT 'the true energy is at least this; equal to energy_wh where proven' AFTER energy_wh,
    ADD COLUMN IF NOT EXISTS energy_high_wh Nullable(Int64) COMMENT 'the true energy is at most this; equal to energy_wh where proven' AFTER energy_low_wh,
    ADD COLUMN IF NOT EXISTS unobserved_s Int64 DEFAULT 0 COMMENT 'nobody observed it for so long: counts as charging, never as idle' AFTER energy_high_wh;

-- The view as before; made again, because a view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW sessions_current AS
SELECT *, coalesce(started_at, ended_at, toDateTime64(0, 6, 'UTC')) AS placed_at
FROM sessions FINAL
WHERE status != 'void';
