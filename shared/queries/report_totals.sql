-- The totals of a report over all groups, not only the listed ones; `groups` is their number. See report.sql.
WITH
    -- include dimension.sql
SELECT
    uniqExact(dimension_of({by:String}), dimension_of({also:String})) AS groups,
    -- include report_figures.sql
FROM metrion.requests
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND ({account:String} = '' OR account = {account:String});
