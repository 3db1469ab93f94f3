-- Does an account have any recorded request?
-- One row when it has, none otherwise.
SELECT account
FROM metrion.response_events
WHERE account = {account:String}
LIMIT 1;
