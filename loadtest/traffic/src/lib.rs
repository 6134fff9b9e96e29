//! What the load tester sends: unicasts and broadcasts, open or closed loop.
