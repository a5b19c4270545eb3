package collectors

import "unique"

// Shared is a value that takes room once, however often the same one is kept: each peer has several
// collectors, which have a target in common, and there are thousands of peers. The zero Shared is the
// zero value.
type Shared[T comparable] struct{ handle unique.Handle[T] }

// Share returns a value to keep.
func Share[T comparable](v T) Shared[T] { return Shared[T]{unique.Make(v)} }

// Get returns the value.
func (s Shared[T]) Get() (v T) {
	if s == (Shared[T]{}) {
		return v
	}
	return s.handle.Value()
}
