-- Which transactions an epoch waits for before it goes on (vault.settle_epochs): all that had begun when its last change was seen.
ALTER TABLE vault.epoch ADD COLUMN waits_for xid8;
