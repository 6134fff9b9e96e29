//! Membership of the cluster: lease, view, message-id grants and configuration from the keeper.
