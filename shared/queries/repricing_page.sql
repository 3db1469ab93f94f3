-- Requests to reprice, oldest first, after (`after`, `after_id`): whole rows, so that a newer version can be written.
-- `reason`: only those of unknown cost, for this reason. Interrupted ones are excluded: a newer version of such a row would hide a response that arrives late.
SELECT * EXCEPT (ingested_at)
FROM metrion.response_events FINAL
WHERE started_at >= {since:DateTime64(6, 'UTC')} AND started_at < {until:DateTime64(6, 'UTC')}
  AND (started_at, id) > ({after:DateTime64(6, 'UTC')}, {after_id:UUID})
  AND ({account:String} = '' OR account = {account:String})
  AND ({provider:String} = '' OR provider = {provider:String})
  AND ({model:String} = '' OR model_name LIKE {model:String})
  AND ({reason:String} = '' OR (cost IS NULL AND cost_reason = {reason:String}))
  AND version > 1 AND usage != ''
ORDER BY started_at, id
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1;
