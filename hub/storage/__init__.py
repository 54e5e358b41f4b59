"""The hub's database: tables, migrations, and one repository an aggregate."""
