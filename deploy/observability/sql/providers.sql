-- Names for the variable provider.
SELECT DISTINCT provider FROM metrion.usage_totals WHERE $__timeFilter(bucket) ORDER BY provider
