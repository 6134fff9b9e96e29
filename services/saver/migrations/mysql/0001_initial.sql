-- Messages, waiting and ended. `state` as in MessageState; `ended_at_ms` is 0 exactly while it is 1 (waiting).
-- `expire_day` is the day (since 1970, UTC) of `expires_at_ms`; days are split off `later` ahead of time and dropped when empty.
CREATE TABLE messages (
    id BIGINT UNSIGNED NOT NULL,
    expire_day INT UNSIGNED NOT NULL,
    product INT UNSIGNED NOT NULL DEFAULT 0,
    user VARBINARY(128) NOT NULL DEFAULT '',
    address_high BIGINT UNSIGNED NOT NULL DEFAULT 0,
    state TINYINT UNSIGNED NOT NULL DEFAULT 1,
    class TINYINT UNSIGNED NOT NULL DEFAULT 1,
    sent_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    expires_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    stored_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    stored_by INT UNSIGNED NOT NULL DEFAULT 0,
    written_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    written_by INT UNSIGNED NOT NULL DEFAULT 0,
    ended_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    collapse_key VARBINARY(64) NOT NULL DEFAULT '',
    idempotency_key VARBINARY(128) NOT NULL DEFAULT '',
    payload MEDIUMBLOB NULL,
    PRIMARY KEY (id, expire_day),
    -- Fills by slot (the top 12 bits of address_high) and by address; counts.
    KEY by_state (state, address_high, product),
    -- The sweep of expired ones (ended_at_ms = 0) and the purge.
    KEY by_end (ended_at_ms, expires_at_ms)
) ENGINE = InnoDB
PARTITION BY RANGE (expire_day) (PARTITION later VALUES LESS THAN MAXVALUE);

-- One request per (product, address, key): S1.
CREATE TABLE idempotency (
    product INT UNSIGNED NOT NULL,
    user VARBINARY(128) NOT NULL,
    idempotency_key VARBINARY(128) NOT NULL,
    id BIGINT UNSIGNED NOT NULL,
    expire_day INT UNSIGNED NOT NULL,
    digest BINARY(16) NOT NULL,
    PRIMARY KEY (product, user, idempotency_key)
) ENGINE = InnoDB;

-- Groups whose rows are committed but which are not known to be in Redis yet: written with the rows, removed afterwards,
-- swept by any saver. `messages` is a list of (id: 8 bytes, expire_day: 4 bytes), big-endian.
CREATE TABLE pending_redis (
    id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    messages MEDIUMBLOB NOT NULL
) ENGINE = InnoDB;

-- Messages that were purged, for the account.
CREATE TABLE purged (
    product INT UNSIGNED NOT NULL,
    state TINYINT UNSIGNED NOT NULL,
    count BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (product, state)
) ENGINE = InnoDB;

CREATE TABLE broadcast_sequences (
    product INT UNSIGNED NOT NULL PRIMARY KEY,
    seq BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB;

-- `ended_at_ms` is 0 while active; the payload goes when it ends.
CREATE TABLE broadcasts (
    product INT UNSIGNED NOT NULL,
    seq BIGINT UNSIGNED NOT NULL,
    id BIGINT UNSIGNED NOT NULL,
    class TINYINT UNSIGNED NOT NULL,
    sent_at_ms BIGINT UNSIGNED NOT NULL,
    expires_at_ms BIGINT UNSIGNED NOT NULL,
    payload MEDIUMBLOB NOT NULL,
    rate_per_second INT UNSIGNED NOT NULL,
    created_at_ms BIGINT UNSIGNED NOT NULL,
    ended_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    finished BOOLEAN NOT NULL DEFAULT FALSE,
    holder_node INT UNSIGNED NOT NULL DEFAULT 0,
    holder_incarnation BIGINT UNSIGNED NOT NULL DEFAULT 0,
    held_until_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    idempotency_key VARBINARY(128) NULL,
    digest BINARY(16) NULL,
    PRIMARY KEY (product, seq),
    UNIQUE KEY by_id (id),
    UNIQUE KEY by_key (product, idempotency_key),
    KEY by_work (finished, ended_at_ms, id),
    KEY by_end (ended_at_ms, expires_at_ms)
) ENGINE = InnoDB;

CREATE TABLE broadcast_rooms (
    id BIGINT UNSIGNED NOT NULL,
    node INT UNSIGNED NOT NULL,
    incarnation BIGINT UNSIGNED NOT NULL,
    done BOOLEAN NOT NULL,
    sessions BIGINT UNSIGNED NOT NULL,
    pushed BIGINT UNSIGNED NOT NULL,
    acked BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (id, node, incarnation)
) ENGINE = InnoDB;

-- Addresses that have acknowledged a broadcast, counted in several rows so that acknowledgements do not queue up at one.
CREATE TABLE broadcast_acks (
    id BIGINT UNSIGNED NOT NULL,
    shard TINYINT UNSIGNED NOT NULL,
    count BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (id, shard)
) ENGINE = InnoDB;

-- What an address has seen (S8): everything up to `floor`, and `acked` above it (8 bytes each, big-endian, rising).
CREATE TABLE broadcast_cursors (
    product INT UNSIGNED NOT NULL,
    user VARBINARY(128) NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    floor BIGINT UNSIGNED NOT NULL,
    acked MEDIUMBLOB NOT NULL,
    PRIMARY KEY (product, user)
) ENGINE = InnoDB;

-- `record` is the UplinkRecord as the wire has it, empty once it has ended. `sequence` is NULL where repeats are not recognised by
-- it. Whoever holds an uplink has put `due_at_ms` to the end of his lease.
CREATE TABLE uplinks (
    id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    product INT UNSIGNED NOT NULL,
    user VARBINARY(128) NOT NULL,
    device VARBINARY(128) NOT NULL,
    sequence BIGINT UNSIGNED NULL,
    record MEDIUMBLOB NOT NULL,
    attempts INT UNSIGNED NOT NULL,
    due_at_ms BIGINT UNSIGNED NOT NULL,
    ended_at_ms BIGINT UNSIGNED NOT NULL DEFAULT 0,
    UNIQUE KEY by_sequence (product, user, device, sequence),
    KEY by_work (ended_at_ms, due_at_ms)
) ENGINE = InnoDB;

-- Revisions of all products come from one row, locked until the change is committed.
CREATE TABLE product_revision (
    one TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    revision BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB;
INSERT INTO product_revision VALUES (1, 0);

CREATE TABLE products (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    name VARBINARY(64) NOT NULL,
    revision BIGINT UNSIGNED NOT NULL,
    record MEDIUMBLOB NOT NULL,
    UNIQUE KEY by_name (name),
    UNIQUE KEY by_revision (revision)
) ENGINE = InnoDB;
