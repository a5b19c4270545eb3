package history

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzReader: reading bounds what it returns, and what is written of it is read again.
func FuzzReader(f *testing.F) {
	f.Add(journalOf(f, 3))
	f.Add([]byte("hello\n\n0123456789abcdef {\n"))
	for _, body := range []string{
		`{"v":1,"n":1,"peer":"hq","change":{"at":"2026-01-02T03:04:05Z","diagnosis":"peer_silent","on":true}}`,
		`{"v":2,"n":1}`, `{"v":1,"n":18446744073709551615,"peer":"hq","state":{"seen":"2026-01-02T03:04:05Z"}}`, `[]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// As a file, and as the content of one intact record.
		for _, file := range [][]byte{b, []byte("\n" + checksum(b) + " " + string(b) + "\n")} {
			h := newHistory(memory{}, quiet())
			var r reader
			var again []byte
			n := uint64(0)
			err := r.read(bytes.NewReader(file), func(r record) {
				h.restore(r)
				if line := appendRecord(nil, r, n+1); line != nil {
					again = append(again, line...)
					n++
				}
			})
			if err != nil && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			if h.size > maxHistory {
				t.Errorf("%d bytes are counted", h.size)
			}
			if all, d := readAll(t, again); uint64(len(all)) != n || d.lost > 0 || d.torn {
				t.Errorf("%d of %d records are read again, %+v", len(all), n, d)
			}
		}
	})
}

// TestAccounting: no record is longer than twice the memory that it counts for, and none is longer
// than a reader accepts. The bound of the file depends on it.
func TestAccounting(t *testing.T) {
	long := strings.Repeat(`"`, 2*maxName)
	c := Change{At: began(), Diagnosis: long, Summary: long}
	b := baseline()
	for i := range 2 * maxHops {
		c.Evidence = append(c.Evidence, long)
		b.Hops = append(b.Hops, peer)
		b.Bytes[strconv.Itoa(i)+long] = math.MaxInt32
	}
	c, b = c.clip(), b.clip()
	small, none := Change{At: began(), Diagnosis: "x"}, Baseline{}
	for _, r := range []record{
		{Peer: long[:maxName], Change: &c},
		{Peer: "x", Change: &small},
		{Peer: long[:maxName], State: &state{Seen: time.Now(), Baseline: &b}},
		{Peer: "x", State: &state{Seen: began(), Baseline: &none}},
	} {
		if n := len(appendRecord(nil, r, 1<<63)); n > 2*r.bytes() || n > maxRecord {
			t.Errorf("a record of %d bytes counts for %d: %.60q", n, r.bytes(), appendRecord(nil, r, 1<<63))
		}
	}
}
