//! Which of the services' metrics a run keeps, and under which names.

/// Metrics by name, and the label whose values are told apart. Other labels are summed up. Sorted by name.
const CHOSEN: &[(&str, Option<&str>)] = &[
    ("longline_center_broadcasts_driven", None),
    ("longline_center_broadcasts_total", Some("event")),
    ("longline_center_hints_queued", None),
    ("longline_center_hints_total", Some("result")),
    ("longline_center_messages_accepted_total", Some("class")),
    ("longline_center_messages_refused_total", Some("code")),
    ("longline_center_put_seconds_count", None),
    ("longline_center_put_seconds_sum", None),
    ("longline_center_requests_overloaded_total", None),
    ("longline_center_requests_total", Some("status")),
    ("longline_coordinator_claimed_total", None),
    ("longline_coordinator_given_up_total", None),
    ("longline_coordinator_kicks_total", Some("result")),
    ("longline_coordinator_tries_total", Some("outcome")),
    ("longline_coordinator_uplinks_total", Some("result")),
    ("longline_dispatcher_requests_total", Some("result")),
    ("longline_dispatcher_rooms", None),
    ("longline_http_connections", None),
    ("longline_http_connections_refused_total", None),
    ("longline_keeper_leases_run_out_total", None),
    ("longline_keeper_nodes", Some("role")),
    ("longline_panics_total", None),
    ("longline_register_binds_total", Some("result")),
    ("longline_register_displacements_pending", None),
    ("longline_register_displacements_total", Some("end")),
    ("longline_register_entries", None),
    ("longline_register_lookups_total", Some("result")),
    ("longline_register_refused_total", None),
    ("longline_room_accept_failures_total", None),
    ("longline_room_accepted_total", None),
    ("longline_room_acks_total", None),
    ("longline_room_backlog", None),
    ("longline_room_binds", None),
    ("longline_room_binds_decided_total", Some("result")),
    ("longline_room_checks_total", None),
    ("longline_room_closes_total", Some("reason")),
    ("longline_room_connections", None),
    ("longline_room_deferred_total", None),
    ("longline_room_delivery_seconds_bucket", Some("le")),
    ("longline_room_delivery_seconds_count", None),
    ("longline_room_delivery_seconds_sum", None),
    ("longline_room_dropped_total", None),
    ("longline_room_failed_acks_total", None),
    ("longline_room_failed_loads_total", None),
    ("longline_room_foreign_acks_total", None),
    ("longline_room_found_waiting_total", None),
    ("longline_room_hellos_total", None),
    ("longline_room_load_line", None),
    ("longline_room_loads_total", None),
    ("longline_room_not_here_total", None),
    ("longline_room_output_bytes", None),
    ("longline_room_overflows_total", None),
    ("longline_room_pushes_total", None),
    ("longline_room_queue_items_total", None),
    ("longline_room_received_bytes_total", None),
    ("longline_room_refused_total", None),
    ("longline_room_sent_bytes_total", None),
    ("longline_room_sessions", None),
    ("longline_room_stalls_total", None),
    ("longline_room_turns_total", None),
    ("longline_room_unauthenticated", None),
    ("longline_room_unsendable_total", None),
    ("longline_room_uplinks_total", None),
    ("longline_rpc_batch_items_count", Some("method")),
    ("longline_rpc_batch_items_sum", Some("method")),
    ("longline_rpc_failures_total", Some("reason")),
    ("longline_rpc_in_flight_items", None),
    ("longline_saver_batch_items_count", Some("operation")),
    ("longline_saver_batch_items_sum", Some("operation")),
    ("longline_saver_broadcast_acks_total", None),
    ("longline_saver_ended_total", Some("reason")),
    ("longline_saver_failed_total", Some("code")),
    ("longline_saver_idle_acks_total", None),
    ("longline_saver_loaded_total", None),
    ("longline_saver_purged_total", None),
    ("longline_saver_repeated_total", None),
    ("longline_saver_store_seconds_sum", Some("operation")),
    ("longline_saver_stored_total", None),
    ("process_cpu_seconds_total", None),
    ("process_resident_memory_bytes", None),
];

/// How a metric of a node is kept: its name behind the role's and the dot, and the label that is told apart. None: it is not.
pub(super) fn chosen(metric: &str) -> Option<Option<&'static str>> {
    CHOSEN.binary_search_by_key(&metric, |(name, _)| name).ok().map(|at| CHOSEN[at].1)
}

/// `room.closes.kicked` for the metric `longline_room_closes_total` of the role `room`.
pub(super) fn key(role: &str, metric: &str, label: Option<&str>) -> String {
    let name = metric.strip_prefix("longline_").unwrap_or(metric);
    let name = name.strip_prefix(role).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
    let name = name.strip_suffix("_total").unwrap_or(name);
    label.map_or_else(|| format!("{role}.{name}"), |label| format!("{role}.{name}.{label}"))
}

/// Whether a metric only ever rises, as its name tells.
pub(super) fn is_counter(metric: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end))
}

/// Chosen metrics that every node of a whole system shows together from the start: those without a label.
#[cfg(test)]
pub(super) fn always_there() -> impl Iterator<Item = &'static str> {
    CHOSEN.iter().filter(|(_, label)| label.is_none()).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_each_once() {
        assert!(CHOSEN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(chosen("longline_room_sessions"), Some(None));
        assert_eq!(chosen("longline_room_closes_total"), Some(Some("reason")));
        assert_eq!(chosen("longline_room_closes"), None);
    }

    #[test]
    fn names_are_short_and_tell_the_role() {
        assert_eq!(key("room", "longline_room_closes_total", Some("kicked")), "room.closes.kicked");
        let bucket = "longline_room_delivery_seconds_bucket";
        assert_eq!(key("room", bucket, Some("0.001")), "room.delivery_seconds_bucket.0.001");
        assert!(is_counter(bucket));
        assert_eq!(key("saver", "longline_rpc_in_flight_items", None), "saver.rpc_in_flight_items");
        assert_eq!(key("room", "process_cpu_seconds_total", None), "room.process_cpu_seconds");
        assert_eq!(key("standalone", "longline_panics_total", None), "standalone.panics");
    }
}
