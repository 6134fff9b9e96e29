//! The system under load: started on this machine or pointed at, and watched.
