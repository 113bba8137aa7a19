-- Energy, revenue and idle hours per site and day; only final bills have amounts.
SELECT site_id, toDate(placed_at, 'Europe/Berlin') AS day, count() AS sessions, sum(energy_wh) / 1000 AS kwh,
       sum(payable_incl_vat) AS revenue, any(currency) AS currency, round(sum(idle_s) / 3600, 1) AS idle_hours
FROM sessions_current
GROUP BY site_id, day
ORDER BY site_id, day;

-- The busiest stations, hour by hour.
SELECT station_id, hour_utc, energy_kwh, occupied_minutes
FROM station_demand_hourly
ORDER BY energy_kwh DESC
LIMIT 10;

-- What is wrong at this moment, and bills that wait for somebody.
SELECT rule, severity, station_id, connector_id, raised_at
FROM anomalies_current
WHERE cleared_at IS NULL
ORDER BY raised_at DESC;

SELECT session_id, station_id, held_reason
FROM held_bills;
