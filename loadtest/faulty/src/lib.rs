//! A deliberately faulty server, to see that the load tester catches it.
