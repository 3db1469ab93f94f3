-- The page's filters on requests, read as `r`: one of the values, or with not_… none. Conditions are such that the primary key can be used.
AND ({account:String} = '' OR r.account = {account:String})
AND ({any_provider:UInt8} OR NOT {not_provider:UInt8} AND r.provider IN {provider:Array(String)} OR {not_provider:UInt8} AND r.provider NOT IN {provider:Array(String)})
AND ({any_model:UInt8} OR NOT {not_model:UInt8} AND r.model_name IN {model:Array(String)} OR {not_model:UInt8} AND r.model_name NOT IN {model:Array(String)})
AND ({any_token:UInt8} OR NOT {not_token:UInt8} AND r.token IN {token:Array(String)} OR {not_token:UInt8} AND r.token NOT IN {token:Array(String)})
AND ({any_requester:UInt8} OR NOT {not_requester:UInt8} AND r.requester IN {requester:Array(String)} OR {not_requester:UInt8} AND r.requester NOT IN {requester:Array(String)})
AND r.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
AND ({any_failed:UInt8} OR r.is_error = ({failed:UInt8} = 1))
AND ({any_outcome:UInt8} OR NOT {not_outcome:UInt8} AND r.outcome IN {outcome:Array(String)} OR {not_outcome:UInt8} AND r.outcome NOT IN {outcome:Array(String)})
AND ({cache:String} = '' OR r.is_cache_hit = ({cache:String} = 'yes'))
AND ({cost:String} = '' OR if({cost:String} = 'unknown', r.cost IS NULL, r.is_estimated))
AND ({any_client:UInt8} OR NOT {not_client:UInt8} AND r.client IN {client:Array(String)} OR {not_client:UInt8} AND r.client NOT IN {client:Array(String)})
AND ({any_agent:UInt8} OR NOT {not_agent:UInt8} AND r.agent IN {agent:Array(String)} OR {not_agent:UInt8} AND r.agent NOT IN {agent:Array(String)})
AND ({any_session:UInt8} OR NOT {not_session:UInt8} AND r.session IN {session:Array(String)} OR {not_session:UInt8} AND r.session NOT IN {session:Array(String)})
AND ({any_endpoint:UInt8} OR NOT {not_endpoint:UInt8} AND r.endpoint IN {endpoint:Array(String)} OR {not_endpoint:UInt8} AND r.endpoint NOT IN {endpoint:Array(String)})
AND ({any_connection:UInt8} OR NOT {not_connection:UInt8} AND r.connection IN {connection:Array(String)} OR {not_connection:UInt8} AND r.connection NOT IN {connection:Array(String)})
AND ({billing:String} = '' OR (r.billing = 'subscription') = ({billing:String} = 'subscription'))
AND ({source:String} = '' OR r.source = {source:String})
AND ({meta_key:String} = '' OR {not_meta:UInt8} != if({meta_absent:UInt8} = 1, r.metadata[{meta_key:String}] = '',
    mapContains(r.metadata, {meta_key:String}) AND r.metadata[{meta_key:String}] = {meta_value:String}))
AND ({min_cost:Decimal(38, 12)} = 0 OR r.cost >= {min_cost:Decimal(38, 12)})
AND ({min_tokens:UInt64} = 0
    OR if(r.is_cache_hit, r.saved_input_tokens + r.saved_output_tokens, r.input_tokens + r.output_tokens) >= {min_tokens:UInt64})
AND ({min_latency_ms:UInt32} = 0 OR r.outcome != 'interrupted' AND r.latency_ms >= {min_latency_ms:UInt32})
