-- A message is one row from the moment it is stored until its retention ends. Ending changes the state in place and drops the
-- payload (S5). Partial indexes: what is asked about waiting messages costs by what waits, not by what has ended.
CREATE TABLE messages (
    id              INTEGER PRIMARY KEY,
    slot            INTEGER NOT NULL,
    product         INTEGER NOT NULL,
    user            TEXT    NOT NULL,
    state           INTEGER NOT NULL,            -- longline_types::MessageState; 1: waiting
    class           INTEGER NOT NULL,            -- longline.types.v1.Class
    accepted_at_ms  INTEGER NOT NULL,
    expires_at_ms   INTEGER NOT NULL,
    stored_at_ms    INTEGER NOT NULL,
    stored_by       INTEGER NOT NULL,            -- number of the saver
    written_at_ms   INTEGER NOT NULL DEFAULT 0,
    written_by      INTEGER NOT NULL DEFAULT 0,  -- number of the room
    ended_at_ms     INTEGER NOT NULL DEFAULT 0,
    collapse_key    TEXT,
    idempotency_key TEXT,                        -- with its digest: the idempotency record (S1)
    digest          BLOB,
    payload         BLOB                         -- NULL once ended
) STRICT;

-- With all that counting asks for, so that it reads no rows.
CREATE INDEX messages_waiting ON messages (product, user, id, expires_at_ms, state) WHERE state = 1;
CREATE INDEX messages_expiry ON messages (expires_at_ms) WHERE state = 1;
CREATE INDEX messages_ended ON messages (ended_at_ms) WHERE state <> 1;
CREATE INDEX messages_collapse ON messages (product, user, collapse_key) WHERE state = 1 AND collapse_key IS NOT NULL;
CREATE UNIQUE INDEX messages_idempotency ON messages (product, user, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What retention removed, so that the account still adds up (I3).
CREATE TABLE purged (
    product INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (product, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    product        INTEGER PRIMARY KEY,
    accepted       INTEGER NOT NULL DEFAULT 0,   -- messages ever stored
    last_broadcast INTEGER NOT NULL DEFAULT 0    -- highest sequence given
) STRICT;

CREATE TABLE broadcasts (
    id                  INTEGER PRIMARY KEY,
    product             INTEGER NOT NULL,
    seq                 INTEGER NOT NULL,
    class               INTEGER NOT NULL,
    sent_at_ms          INTEGER NOT NULL,
    expires_at_ms       INTEGER NOT NULL,
    created_at_ms       INTEGER NOT NULL,
    ended_at_ms         INTEGER NOT NULL DEFAULT 0,  -- 0: active
    rate_per_second     INTEGER NOT NULL,
    finished            INTEGER NOT NULL DEFAULT 0,
    acked               INTEGER NOT NULL DEFAULT 0,
    claimed_node        INTEGER NOT NULL DEFAULT 0,
    claimed_incarnation INTEGER NOT NULL DEFAULT 0,
    claimed_until_ms    INTEGER NOT NULL DEFAULT 0,
    idempotency_key     TEXT,
    digest              BLOB,
    payload             BLOB                         -- NULL once ended
) STRICT;

CREATE UNIQUE INDEX broadcasts_seq ON broadcasts (product, seq);
CREATE INDEX broadcasts_active ON broadcasts (product, seq) WHERE ended_at_ms = 0;
CREATE INDEX broadcasts_expiry ON broadcasts (expires_at_ms) WHERE ended_at_ms = 0;
CREATE INDEX broadcasts_unfinished ON broadcasts (id) WHERE ended_at_ms = 0 AND finished = 0;
CREATE INDEX broadcasts_ended ON broadcasts (ended_at_ms) WHERE ended_at_ms <> 0;
CREATE UNIQUE INDEX broadcasts_idempotency ON broadcasts (product, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE broadcast_rooms (
    broadcast   INTEGER NOT NULL,
    node        INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    sessions    INTEGER NOT NULL,
    pushed      INTEGER NOT NULL,
    acked       INTEGER NOT NULL,
    PRIMARY KEY (broadcast, node, incarnation)
) STRICT, WITHOUT ROWID;

-- What an address has of its product's broadcasts (S8): everything up to the floor, and these above it (a JSON array).
CREATE TABLE addresses (
    product INTEGER NOT NULL,
    user    TEXT    NOT NULL,
    floor   INTEGER NOT NULL,
    acked   TEXT    NOT NULL DEFAULT '[]',
    PRIMARY KEY (product, user)
) STRICT, WITHOUT ROWID;

-- The uplink queue. Who claims an uplink moves its due time to the end of the lease. A finished one stays without its record,
-- to recognise repeats, until its retention ends.
CREATE TABLE uplinks (
    id          INTEGER PRIMARY KEY,
    product     INTEGER NOT NULL,
    user        TEXT    NOT NULL,
    device      TEXT    NOT NULL,
    sequence    INTEGER NOT NULL,
    kind        INTEGER NOT NULL,                -- longline.saver.v1.UplinkKind
    attempts    INTEGER NOT NULL,
    due_at_ms   INTEGER NOT NULL,
    ended_at_ms INTEGER NOT NULL DEFAULT 0,
    record      BLOB                             -- longline.saver.v1.UplinkRecord; NULL once finished
) STRICT;

CREATE INDEX uplinks_due ON uplinks (due_at_ms) WHERE ended_at_ms = 0;
CREATE INDEX uplinks_ended ON uplinks (ended_at_ms) WHERE ended_at_ms <> 0;
CREATE UNIQUE INDEX uplinks_sequence ON uplinks (product, user, device, sequence) WHERE kind = 1 AND sequence <> 0;

CREATE TABLE products (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    revision INTEGER NOT NULL UNIQUE,            -- from one counter for all products
    record   BLOB    NOT NULL                    -- longline.saver.v1.Product
) STRICT;
