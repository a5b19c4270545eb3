// Package gatewaystest floods the readers of gateways: it makes answers of 31 MB that hold anything but
// tables, and fails a test whose reader does not end with its context, or takes memory without
// bound. Tests of each type of gateway add the lines that their own parser takes the most time for.
package gatewaystest

import (
	"context"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// FloodBytes is the length of each answer of Floods: what a hostile device sent once.
const FloodBytes = 31 << 20

// Floods returns answers that hold anything but tables, by name, and answers that repeat a line.
func Floods(lines ...string) map[string]string {
	all := map[string]string{
		"one line of spaces": strings.Repeat(" ", FloodBytes), "one line of colons": strings.Repeat(":", FloodBytes),
		"one line of hashes": strings.Repeat("#a", FloodBytes/2), "empty lines": strings.Repeat("\n", FloodBytes),
		"short lines": strings.Repeat("a\n", FloodBytes/2), "long lines": strings.Repeat(strings.Repeat(": ", 4000)+"\n", FloodBytes/8001),
	}
	for _, line := range lines {
		all["lines like "+line] = strings.Repeat(line+"\n", FloodBytes/(len(line)+1))
	}
	return all
}

const (
	// maxHeap is the most memory that reading a flood may take besides the flood.
	maxHeap = 400 << 20
	// readTime is how long reading may take before its context ends, and late how long it may go on
	// after that on a busy machine.
	readTime = 100 * time.Millisecond
	late     = 20 * time.Second
)

// WantEnd fails the test unless read returns soon after its context has ended, and takes a bounded
// amount of memory.
func WantEnd(t *testing.T, what string, read func(context.Context)) {
	t.Helper()
	before, most := heap(), uint64(0)
	ctx, cancel := context.WithTimeout(t.Context(), readTime)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		read(ctx)
	}()
	deadline := time.NewTimer(readTime + late)
	defer deadline.Stop()
	for look := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case <-look.C:
			most = max(most, heap())
			continue
		case <-ended:
		case <-deadline.C:
			t.Fatalf("%s: still reading %v after the deadline", what, late)
		}
		look.Stop()
		break
	}
	if most = max(most, heap()); most > before+maxHeap {
		t.Errorf("%s: %d MiB of memory", what, (most-before)>>20)
	}
}

// heap returns the bytes of objects in memory, garbage included.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
