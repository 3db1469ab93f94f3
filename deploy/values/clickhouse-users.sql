-- Metrion's users for an existing ClickHouse server. Run it as a user with access management:
--   clickhouse-client --param_logger_sha256=… --param_reader_sha256=… --param_admin_sha256=… --multiquery < clickhouse-users.sql
-- SHA-256 in hex: printf %s "$password" | sha256sum. If the servers of a cluster do not share users, run it on each.
CREATE DATABASE IF NOT EXISTS metrion;
-- users: `make users` writes from here
CREATE USER IF NOT EXISTS logger IDENTIFIED WITH sha256_hash BY {logger_sha256:String};
ALTER USER logger IDENTIFIED WITH sha256_hash BY {logger_sha256:String};
GRANT ALL ON metrion.* TO logger;
GRANT TABLE ENGINE ON * TO logger;
GRANT SELECT ON system.* TO logger;
GRANT SET DEFINER ON logger TO logger;
GRANT CLUSTER ON *.* TO logger;
CREATE USER IF NOT EXISTS reader IDENTIFIED WITH sha256_hash BY {reader_sha256:String} SETTINGS readonly = 2;
ALTER USER reader IDENTIFIED WITH sha256_hash BY {reader_sha256:String} SETTINGS readonly = 2;
GRANT SELECT ON metrion.* TO reader;
GRANT SELECT ON system.* TO reader;
CREATE USER IF NOT EXISTS admin IDENTIFIED WITH sha256_hash BY {admin_sha256:String};
ALTER USER admin IDENTIFIED WITH sha256_hash BY {admin_sha256:String};
GRANT SELECT ON metrion.* TO admin;
GRANT SELECT ON system.* TO admin;
GRANT INSERT ON metrion.response_events TO admin;
GRANT INSERT ON metrion.repricings TO admin;
GRANT INSERT ON metrion.erasures TO admin;
GRANT INSERT ON metrion.reported_costs TO admin;
GRANT INSERT ON metrion.gateways TO admin;
GRANT INSERT ON metrion.usage_15m TO admin;
GRANT INSERT ON metrion.usage_totals_15m TO admin;
GRANT INSERT ON metrion.usage_sums TO admin;
GRANT INSERT ON metrion.usage_requester_sums TO admin;
GRANT INSERT ON metrion.usage_latency_states TO admin;
GRANT INSERT ON metrion.usage_faults_15m TO admin;
GRANT INSERT ON metrion.usage_days TO admin;
GRANT INSERT ON metrion.usage_session_days TO admin;
GRANT INSERT ON metrion.rollup_passes TO admin;
GRANT ALTER DELETE ON metrion.* TO admin;
GRANT CREATE USER ON *.* TO admin;
GRANT DROP USER ON *.* TO admin;
GRANT CREATE ROW POLICY ON metrion.* TO admin;
GRANT DROP ROW POLICY ON metrion.* TO admin;
GRANT SELECT ON metrion.* TO admin WITH GRANT OPTION;
-- users: to here
