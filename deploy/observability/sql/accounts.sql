-- Names for the variable account.
SELECT DISTINCT account FROM metrion.usage_totals WHERE $__timeFilter(bucket) ORDER BY account
