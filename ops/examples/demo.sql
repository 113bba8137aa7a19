SELECT site_id, count() AS sessions, sum(energy_wh) / 1000 AS kwh, sum(payable_incl_vat) AS payable, any(currency) AS currency
FROM charging.sessions_current
GROUP BY site_id
ORDER BY site_id
FORMAT PrettyCompactMonoBlock
