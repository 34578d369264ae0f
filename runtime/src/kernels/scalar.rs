//! The oracle of every other table.
