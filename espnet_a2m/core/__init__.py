"""Ground that every room stands on: errors, configuration, files, frames."""
