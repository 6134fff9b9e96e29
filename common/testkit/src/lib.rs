//! Support for tests: scratch folders, redis-server and mariadbd on free ports, waiting for conditions.
