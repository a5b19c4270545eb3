package gateways

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// TestLines: cut where they are too long, and not beyond the context.
func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", lineBytes+1)
	if got := slices.Collect(Lines(t.Context(), "a\n\n"+long+"\nb")); !slices.Equal(got, []string{"a\n", "\n", long[:lineBytes], "b"}) {
		t.Errorf("%d lines: %.100q", len(got), got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for range Lines(ctx, strings.Repeat("a\n", 10*linesBetween)) {
		if n++; n == linesBetween {
			cancel()
		}
	}
	if n > 2*linesBetween {
		t.Errorf("%d lines, although the context ended after %d", n, linesBetween)
	}
}

// TestBoundedTable: what is too much is an error, and too many doubts are about all peers.
func TestBoundedTable(t *testing.T) {
	t.Parallel()
	table := Table{IKE: make([]IKESA, MaxSAs-1)}
	if table.IKE[0].State = Established; table.Full() {
		t.Error("full too soon")
	}
	if _, err := table.Checked(); err != nil {
		t.Error(err)
	}
	table.Children = make([]ChildSA, 1)
	if _, err := table.Checked(); err != ErrTooMany || !table.Full() { //nolint:errorlint // the error itself
		t.Errorf("error %v", err)
	}
	table = Table{}
	for range 2 * maxDoubts {
		table.SkipSA("line", Identity{ID: "a"})
	}
	if len(table.Doubts) != maxDoubts || table.Doubts[0] != (Identity{}) || table.Unparsed != 2*maxDoubts {
		t.Errorf("%d doubts, the first %+v, %d lines", len(table.Doubts), table.Doubts[0], table.Unparsed)
	}
}
