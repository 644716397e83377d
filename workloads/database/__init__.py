"""A PostgreSQL login for programs that know none of the clouds' ways: MLflow, Airflow, whatever stands on libpq."""
