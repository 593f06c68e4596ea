//! The command line: commands, flags, templates, tables, progress
