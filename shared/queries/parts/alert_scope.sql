-- Which rows of the rollup, read as `u`, an alert rule is about. `account`: '' for all, only in rules about the whole installation.
WHERE ({account:String} = '' OR u.account = {account:String})
  AND u.bucket >= {since:DateTime('UTC')} AND u.bucket < {until:DateTime('UTC')}
  AND ({token:String} = '' OR u.token = {token:String})
  AND ({requester:String} = '' OR u.requester = {requester:String})
  AND ({provider:String} = '' OR u.provider = {provider:String})
  AND ({model:String} = '' OR u.model LIKE {model:String})
  AND ({names:Array(String)} = [] OR has({names:Array(String)}, toString({by:Identifier})))
