//! Wire types of the Docker Engine API
