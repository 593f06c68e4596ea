//! The HTTP edge of the engine
