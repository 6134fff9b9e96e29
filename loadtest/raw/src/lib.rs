//! The reference server of the load tester: what one epoll loop costs, and its injector.
