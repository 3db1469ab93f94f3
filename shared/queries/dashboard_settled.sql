-- Progress of the rollup; see metrion.usage_settled. One row.
SELECT touched, narrow FROM metrion.usage_settled;
