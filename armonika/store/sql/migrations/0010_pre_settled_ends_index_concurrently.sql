-- Lines since a transaction, without a look at those before.
CREATE INDEX CONCURRENTLY ended_settled ON vault.ended (xact) WHERE record_id IS NOT NULL;
