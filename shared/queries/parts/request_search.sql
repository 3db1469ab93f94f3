-- The search text as a condition on requests, read as `r`: text, not a pattern.
AND ({search:String} = ''
    OR positionCaseInsensitiveUTF8(r.model, {search:String}) > 0
    OR positionCaseInsensitiveUTF8(r.model_requested, {search:String}) > 0
    OR positionCaseInsensitiveUTF8(r.requester, {search:String}) > 0
    OR positionCaseInsensitiveUTF8(r.error_type, {search:String}) > 0
    OR positionCaseInsensitiveUTF8(r.error_message, {search:String}) > 0
    OR r.provider_request_id = {search:String})
