//! Container lifecycle, exec, events, restart
