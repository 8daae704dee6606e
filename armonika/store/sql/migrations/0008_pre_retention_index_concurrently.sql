-- What is due is found without a look at what is not. Made while records are read and written. Over an expression, so that nothing but the search for
-- what is due can use it: as a plain column the dataset drew the plans of reads to this index while a table had no statistics yet, and each read went
-- through all of it.
CREATE INDEX CONCURRENTLY record_recorded ON vault.record ((dataset::int), created_at);
