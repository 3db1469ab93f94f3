-- Erase a requester's rows from a table: rewrites the parts that contain them, on every replica, before it returns.
-- (DELETE FROM would only hide them.) `account` '' means all.
ALTER TABLE metrion.{table:Identifier}
DELETE WHERE requester = {requester:String} AND ({account:String} = '' OR account = {account:String})
SETTINGS mutations_sync = 2;
