"""The database: tables, migrations, and one module per noun. Imports no sibling package."""
