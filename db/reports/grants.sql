-- The rights of report writers. Views and functions act with their owner's rights, so the role
-- needs none on the tables behind them, and has none.
GRANT USAGE ON SCHEMA report TO aparella_report;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO aparella_report;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA report TO aparella_report;

-- PostgreSQL lets everybody make temporary tables. Whoever installs this may go on doing so; a
-- report login may not, or "it cannot write" would not be true.
DO $$
BEGIN
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), current_user);
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END
$$;
