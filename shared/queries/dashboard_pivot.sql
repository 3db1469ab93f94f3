-- A measure by two dimensions, its largest rows and columns each by themselves, the others together. `row_at` and `column_at` count from 1 in
-- order of `weighed`, in totals of the row or column; behind `most_rows` and `most_columns` they are all others, and 0 is the total. Rows of
-- time are in its order. Names are those of a row and a column by itself. `groups_of_rows`, in the total, is their number, others included.
-- Everything is computed from the requests of its cell: rates and percentiles of others and totals are exact, too.
-- `source` is the smallest one that suffices, after the page's filters: see services/dashboard/queries/joint_source.py; the dimensions are
-- those of services/dashboard/queries/pivot.py.
SELECT
    least(p.row_place, {most_rows:UInt32} + 1) AS row_at,
    least(p.column_place, {most_columns:UInt32} + 1) AS column_at,
    any(p.row_name) AS row_key,
    any(p.column_name) AS column_key,
    max(p.row_place) AS groups_of_rows,
    max(p.column_place) AS groups_of_columns,
    -- measures: outer
FROM
(
    SELECT
        *,
        dense_rank() OVER (ORDER BY if({in_time:UInt8} = 1, 0, row_weight) DESC, row_name) AS row_place,
        dense_rank() OVER (ORDER BY column_weight DESC, column_name) AS column_place
    FROM
    (
        SELECT
            *,
            sum(weight) OVER (PARTITION BY row_name) AS row_weight,
            sum(weight) OVER (PARTITION BY column_name) AS column_weight
        FROM
        (
            SELECT
                toString({row_dimension:Identifier}) AS row_name,
                toString({column_dimension:Identifier}) AS column_name,
                {weight:Identifier} AS weight,
                -- measures: inner
            FROM metrion.{source:Identifier} AS u
            WHERE u.bucket >= {since:DateTime64(6, 'UTC')} AND u.bucket < {until:DateTime64(6, 'UTC')}
            GROUP BY row_name, column_name
            HAVING {counted:Identifier} > 0
        )
    )
) AS p
GROUP BY GROUPING SETS ((row_at, column_at), (row_at), (column_at), ())
HAVING groups_of_rows > 0
ORDER BY row_at, column_at;
