# Every program logs in as its own role. Before it, in another terminal: chargeline up --secure
set -eu
as() {
  role=$1
  shift
  CHARGELINE_KAFKA_PROPERTIES_FILE=chargeline-data/access/$role.properties "$@"
}
chargeline keys create keys.json
export CHARGELINE_KEYS_FILE=keys.json
chargeline simulate --seed 7 --stations 5 --documents . --out events.ndjson # writes sites.json and tariffs.json, too
as publisher chargeline sites publish sites.json
as publisher chargeline tariffs publish tariffs.json
as assemble chargeline worker --stage assemble &
as occupy chargeline worker --stage occupy --slot occupy &
as store env -u CHARGELINE_KEYS_FILE chargeline worker --stage store --slot store & # needs no key, so it gets none
trap 'trap "" TERM; kill 0; wait' EXIT # the workers
as producer chargeline simulate --seed 7 --stations 5
sleep "${SETTLE_S:-30}" # the day of the fleet is assembled, rated and stored meanwhile
chargeline report
as billing chargeline bills list
as billing chargeline receipts export --out receipts
as operator chargeline dead-letters list
as operator chargeline stations quarantined
