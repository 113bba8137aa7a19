# The roles of grants.sql, and a user for each program with the password of its file. For docker-compose; repeats are harmless.
set -eu
CLICKHOUSE_PASSWORD=$(cat /run/secrets/clickhouse_chargeline)
export CLICKHOUSE_PASSWORD
administrator() { clickhouse-client --host clickhouse --user chargeline "$@"; }

administrator --queries-file /etc/chargeline/grants.sql
for pair in store:chargeline_store migrate:chargeline_migrate report:chargeline_read; do
  user=${pair%%:*} role=${pair#*:}
  hash=$(tr -d '\n' < "/run/secrets/clickhouse_$user" | sha256sum | cut -d ' ' -f 1)
  echo "CREATE USER IF NOT EXISTS $user;"
  echo "ALTER USER $user IDENTIFIED WITH sha256_hash BY '$hash' DEFAULT ROLE NONE;"
  echo "GRANT $role TO $user;"
  echo "ALTER USER $user DEFAULT ROLE $role;"
done | administrator
