-- Erase a requester's rows of a table: the parts that hold them are written anew without them, on every replica, before this
-- ends. (DELETE FROM would only hide them.) `account` '' means all.
ALTER TABLE metrion.{table:Identifier}
DELETE WHERE requester = {requester:String} AND ({account:String} = '' OR account = {account:String})
SETTINGS mutations_sync = 2;
