-- The page's filters on requests, read as `r`.
AND ({account:String} = '' OR r.account = {account:String})
AND ({provider:String} = '' OR r.provider = {provider:String})
AND ({any_model:UInt8} OR r.model_name = {model:String})
AND ({any_token:UInt8} OR r.token = {token:String})
AND ({any_requester:UInt8} OR r.requester = {requester:String})
AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
AND ({cache:String} = '' OR r.is_cache_hit = ({cache:String} = 'yes'))
AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.is_estimated))
AND ({client:String} = '' OR r.client = {client:String})
AND ({agent:String} = '' OR r.agent = {agent:String})
AND ({session:String} = '' OR r.session = {session:String})
AND ({meta_key:String} = '' OR mapContains(r.metadata, {meta_key:String}) AND r.metadata[{meta_key:String}] = {meta_value:String})
