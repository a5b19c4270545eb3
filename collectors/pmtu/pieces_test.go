package pmtu

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/netsim"
)

// TestPieces: the path MTU is what crosses in one piece, also where a middlebox clears DF.
func TestPieces(t *testing.T) {
	hops := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}
	for name, tt := range map[string]struct {
		path  netsim.Config
		state search.State
		bytes int
		note  string
	}{
		"1400 bytes": {
			netsim.Config{MTU: 1400, ClearDF: true, Narrow: 2, Hops: hops},
			search.Reduced, 1400,
			"larger packets, up to 1500 bytes, arrive in pieces: DF is cleared on the path, before 198.51.100.3",
		},
		"1396 bytes": {netsim.Config{MTU: 1396, ClearDF: true, Narrow: 2, Hops: hops}, search.Reduced, 1396, "up to 1500 bytes"},
		"1403 bytes": {netsim.Config{MTU: 1403, ClearDF: true, Narrow: 1, Hops: hops}, search.Reduced, 1403, "before 198.51.100.2"},
		"routers limit their answers": {
			netsim.Config{MTU: 1400, ClearDF: true, Narrow: 2, Hops: hops, Exceeded: netsim.Limit{Every: 200 * time.Millisecond, Burst: 3}},
			search.Reduced, 1400, "arrive in pieces",
		},
		"no router behind the link":  {netsim.Config{MTU: 1400, ClearDF: true, Hops: hops}, search.Clean, 1500, ""},
		"clean":                      {netsim.Config{Hops: hops}, search.Clean, 1500, ""},
		"pieces are dropped as well": {netsim.Config{MTU: 1400, ClearDF: true, Narrow: 2, Hops: hops, DropFragments: true}, search.BlackHole, 1400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.path.Delay = 20 * time.Millisecond
				path := netsim.New(tt.path, 1)
				c := collector(t, path)
				c.opts.Locate, c.opts.Hops = true, time.Hour
				for range 2 {
					expect(t, c, tt.state, tt.bytes, tt.note)
				}
				path.Set(func(cfg *netsim.Config) { cfg.MTU, cfg.ClearDF, cfg.DropFragments = 0, false, false })
				time.Sleep(time.Hour)
				expect(t, c, search.Clean, 1500, "")
			})
		})
	}
}

func expect(t *testing.T, c *Collector, state search.State, bytes int, note string) {
	t.Helper()
	if _, err := c.Measure(t.Context(), collectorstest.Target(false)); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Snapshot().Results {
		if r.State != state || r.Bytes != bytes || !strings.Contains(r.Note, note) || note == "" && r.Note != "" {
			t.Errorf("%s: %s %d (%s) %q, want %s %d", r.Method, r.State, r.Bytes, r.Reason, r.Note, state, bytes)
		}
	}
	time.Sleep(time.Minute)
}

// TestPiecesInTheLab lets r2 clear DF in front of a small link.
func TestPiecesInTheLab(t *testing.T) {
	t.Parallel()
	b := newRig(t)
	b.SetMTU(t, pathMTU)
	b.ClearDF(t)
	c := New(b.stack, Options{Keys: b.keys, Locate: true, Hops: time.Hour})
	measureOnce(t, c, b.target(false))
	for _, r := range c.Snapshot().Results {
		want := fmt.Sprintf("larger packets, up to 1500 bytes, arrive in pieces: DF is cleared on the path, before %s", b.HopAddr(3, false))
		if r.State != search.Reduced || r.Bytes != pathMTU || r.Note != want {
			t.Errorf("%s: %s %d %q", r.Method, r.State, r.Bytes, r.Note)
		}
	}
}
