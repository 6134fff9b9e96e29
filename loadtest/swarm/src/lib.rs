//! The simulated devices of the load tester: one epoll loop a thread.
