-- How far is the rollup? See metrion.usage_settled. One row.
SELECT touched, narrow FROM metrion.usage_settled;
