"""A data set in one file, to be copied to another machine: pixels at input resolution, native masks, and identities."""
