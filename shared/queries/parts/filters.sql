-- What the filters of a page leave of usage, read as `u`. `who` is its column of requesters, any other where it has none.
AND ({account:String} = '' OR u.account = {account:String})
AND ({provider:String} = '' OR u.provider = {provider:String})
AND ({any_model:UInt8} OR u.model = {model:String})
AND ({any_token:UInt8} OR u.token = {token:String})
AND ({any_requester:UInt8} OR {who:Identifier} = {requester:String})
AND u.status BETWEEN {status_from:UInt16} AND {status_to:UInt16}
AND ({cache:String} = '' OR (u.cache = 'HIT') = ({cache:String} = 'yes'))
AND ({cost:String} = '' OR if({cost:String} = 'unknown', NOT u.priced, u.priced AND u.usage_source = 'estimated'))
