module rootspan.dev/interop

go 1.25.0

// Not below v0.40.0: before it, tlog.TileHashReader took some tiles unchecked.
require golang.org/x/mod v0.40.0
