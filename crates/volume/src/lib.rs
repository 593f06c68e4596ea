//! Volumes and their drivers
