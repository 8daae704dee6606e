-- What is due is found without a look at what is not. Made while records are read and written.
CREATE INDEX CONCURRENTLY record_recorded ON vault.record (dataset, created_at);
