-- Record a finished pass of the rollup; from now on the views use its results.
INSERT INTO metrion.rollup_passes (pass, up_to, rows_from, buckets, seconds)
SELECT {pass:String}, {up_to:DateTime64(3, 'UTC')}, {rows_from:DateTime('UTC')}, {buckets:UInt32}, {seconds:Float32};
