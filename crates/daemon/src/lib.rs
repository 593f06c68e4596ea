//! Composition root of the engine: configuration, wiring, restore, reload, shutdown
