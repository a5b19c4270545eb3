package gateways

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// MaxSAs bounds how many SAs, or other things, are read of one gateway: several times what the largest
// hub has.
const MaxSAs = 1 << 18

// ErrTooMany is the error of a gateway that shows more than MaxSAs.
var ErrTooMany = fmt.Errorf("more than %d SAs or connections", MaxSAs)

const (
	// lineBytes is the most that is kept of a line. No daemon prints a longer one.
	lineBytes = 4096
	// linesBetween is the number of lines that are read between two looks at the deadline.
	linesBetween = 64
	// maxDoubts bounds Table.Doubts. More are one doubt about all peers.
	maxDoubts = 10_000
)

// Lines returns the lines of an output, cut where they are too long. It ends with the context: an
// output may be longer than can be parsed in time. The caller checks the context afterwards.
func Lines(ctx context.Context, out string) iter.Seq[string] {
	return func(yield func(string) bool) {
		n := 0
		for line := range strings.Lines(out) {
			if n++; n%linesBetween == 0 && ctx.Err() != nil {
				return
			}
			if !yield(line[:min(len(line), lineBytes)]) {
				return
			}
		}
	}
}

// Full reports whether a table has as many SAs as may be read.
func (t *Table) Full() bool { return len(t.IKE)+len(t.Children) >= MaxSAs }

// Doubt notes an SA that was not understood. id is what is known of its other end.
func (t *Table) Doubt(id Identity) {
	if len(t.Doubts) >= maxDoubts {
		t.Doubts[0] = Identity{}
		return
	}
	t.Doubts = append(t.Doubts, id)
}
