-- Who may do what, on a server (chDB has no users). Run by an administrator; repeats are harmless. Users are
-- made outside of this file, with their secrets: users.sh does that for docker-compose.
-- No role of analysts reads `charging`: it holds pseudonymous sessions, which stay personal data. They get the
-- suppressed aggregates of database `analytics`.

-- The store stage (`chargeline worker --stage store`): writes, reads nothing.
CREATE ROLE IF NOT EXISTS chargeline_store;
GRANT INSERT ON charging.sessions TO chargeline_store;
GRANT INSERT ON charging.anomalies TO chargeline_store;
GRANT INSERT ON charging.rejections TO chargeline_store;

-- `chargeline migrate`.
CREATE ROLE IF NOT EXISTS chargeline_migrate;
GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER, DROP VIEW, SELECT, INSERT ON charging.* TO chargeline_migrate;

-- `chargeline report`, operations, billing and disputes: read, never more.
CREATE ROLE IF NOT EXISTS chargeline_read SETTINGS readonly = 2, max_execution_time = 60, max_result_rows = 10000000;
GRANT SELECT ON charging.* TO chargeline_read;

-- The privacy officer erases by pseudonym (ALTER TABLE ... DELETE) and watches the mutation end.
CREATE ROLE IF NOT EXISTS chargeline_privacy;
GRANT SELECT, ALTER DELETE ON charging.* TO chargeline_privacy;
GRANT SELECT ON system.mutations TO chargeline_privacy;
GRANT SELECT ON system.parts TO chargeline_privacy;

-- A dashboard that runs wild must not take the server with it.
CREATE QUOTA IF NOT EXISTS chargeline_read KEYED BY user_name
FOR INTERVAL 1 minute MAX queries = 600, execution_time = 120 TO chargeline_read;
