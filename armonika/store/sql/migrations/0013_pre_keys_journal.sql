-- What is done with the keys' files alone (docs/security/access.md): the names of its entries.
INSERT INTO vault.operation VALUES (45, 'keys-ceremony'), (46, 'keys-recovered'), (47, 'keys-moved'), (48, 'keys-credentials'), (49, 'keys-authority'), (50, 'keys-copied'),
    (51, 'keys-journal-broken');
