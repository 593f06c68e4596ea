//! Log drivers: framing, rotation, reading
