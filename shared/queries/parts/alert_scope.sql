-- The rows of the rollup, read as `u`, that an alert rule is about. `account`: '' for all, only in rules about the whole installation.
-- `who`: requester, or any column of a source that has no requesters.
WHERE ({account:String} = '' OR u.account = {account:String})
  AND u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
  AND ({token:String} = '' OR u.token = {token:String})
  AND ({requester:String} = '' OR toString({who:Identifier}) = {requester:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({model:String} = '' OR u.model LIKE {model:String})
  AND ({names:Array(String)} = [] OR has({names:Array(String)}, toString({by:Identifier})))
