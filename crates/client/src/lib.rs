//! Docker Engine API client
