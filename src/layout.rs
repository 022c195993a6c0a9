//! Where picosnitch keeps its files: the system layout, or everything in one directory (`--base-dir`).
