-- `dimension_of('model')`: what a request counts as in a report by model. A day or month is one of the zone `tz`; '' for a key of
-- metadata that the request lacks, and for the dimension ''. The names are those of services/cli/report_dimensions.py.
(dimension -> multiIf(
    dimension = 'day', toString(toDate(toTimeZone(started_at, {tz:String}))),
    dimension = 'month', formatDateTime(toTimeZone(started_at, {tz:String}), '%Y-%m'),
    dimension = 'account', account,
    dimension = 'token', concat(account, '/', token),
    dimension = 'requester', requester,
    dimension = 'provider', provider,
    dimension = 'model', model_name,
    dimension = 'endpoint', endpoint,
    dimension = 'status', toString(status),
    dimension = 'client', client,
    dimension = 'agent', agent,
    dimension = 'session', session,
    dimension = 'billing', billing,
    startsWith(dimension, 'metadata:'), metadata[substring(dimension, 10)],
    '')) AS dimension_of
