-- The rights of report writers. Views and functions act with their owner's rights, so the role
-- needs none on the tables behind them, and has none.
GRANT USAGE ON SCHEMA report TO aparella_report;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO aparella_report;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA report TO aparella_report;
