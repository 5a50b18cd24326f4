"""The fault campaign: real processes, seeded faults, and a ledger of what came of the work."""
