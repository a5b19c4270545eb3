package history

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	router   = netip.MustParseAddr("198.51.100.1")
	peer     = netip.MustParseAddr("203.0.113.10")
	sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
)

func began() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func mib(n int) float64 { return float64(n) / (1 << 20) }

// heap returns the number of bytes that are allocated and in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func openHistory(t *testing.T, dir string) *History {
	t.Helper()
	h, err := Open(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func closeHistory(t *testing.T, h *History) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

func baseline() Baseline {
	return Baseline{
		At: began(), Bytes: map[string]int{"icmp": 1500, "ike": 1500}, Hops: []netip.Addr{router, {}, peer}, RoundTrip: 21 * time.Millisecond,
	}
}

func change(n int) Change {
	return Change{
		At: began().Add(time.Duration(n) * time.Second), Diagnosis: "pmtu_black_hole", On: n%2 == 0, Summary: fmt.Sprintf("change %d", n),
		Evidence: []string{"1400 bytes pass", "1401 bytes do not <&>"},
	}
}

// TestHistory: the history returns what was added, in memory, with a file, and after reopening.
func TestHistory(t *testing.T) {
	check := func(t *testing.T, h *History) {
		t.Helper()
		b, ok := h.Baseline("hq")
		if diff := cmp.Diff(baseline(), b, sameAddr); diff != "" || !ok {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Change{change(0), change(1), change(2)}, h.Changes("hq")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Change{change(7)}, h.Changes("branch")); diff != "" {
			t.Error(diff)
		}
		if _, ok := h.Baseline("branch"); ok || h.Changes("unknown") != nil {
			t.Error("an unknown peer has a history")
		}
	}
	for name, dir := range map[string]string{"memory": "", "file": t.TempDir() + "/made/for/it"} {
		t.Run(name, func(t *testing.T) {
			h := openHistory(t, dir)
			h.SetBaseline("hq", Baseline{At: began(), Bytes: map[string]int{"icmp": 9000}})
			h.SetBaseline("hq", baseline())
			for i := range 3 {
				h.Add("hq", change(i))
			}
			h.Add("branch", change(7))
			check(t, h)
			closeHistory(t, h)
			if dir == "" {
				return
			}
			h = openHistory(t, dir)
			check(t, h)
			h.Add("hq", change(3))
			closeHistory(t, h)
			h = openHistory(t, dir)
			defer closeHistory(t, h)
			if got := h.Changes("hq"); len(got) != 4 || got[3].Summary != "change 3" {
				t.Errorf("after the second opening: %v", got)
			}
		})
	}
}

// TestHistoryIsNotShared: callers may modify their arguments and results.
func TestHistoryIsNotShared(t *testing.T) {
	h := openHistory(t, "")
	defer closeHistory(t, h)
	b, c := baseline(), change(0)
	h.SetBaseline("hq", b)
	h.Add("hq", c)
	b.Bytes["icmp"], b.Hops[0], c.Evidence[0] = 1, netip.Addr{}, "x"
	b, _ = h.Baseline("hq")
	b.Bytes["ike"], b.Hops[2] = 1, netip.Addr{}
	h.Changes("hq")[0].Evidence[1] = "x"
	b, _ = h.Baseline("hq")
	if cmp.Diff(baseline(), b, sameAddr) != "" || cmp.Diff([]Change{change(0)}, h.Changes("hq")) != "" {
		t.Errorf("%v, %v", b, h.Changes("hq"))
	}
}

func TestHistoryClips(t *testing.T) {
	h := openHistory(t, "")
	defer closeHistory(t, h)
	long := strings.Repeat("ä", 2000)
	c := Change{At: began(), Diagnosis: long, Summary: "a\x1b[31m\n" + long, Evidence: make([]string, 100)}
	for i := range c.Evidence {
		c.Evidence[i] = long
	}
	b := Baseline{Bytes: map[string]int{}, Hops: make([]netip.Addr, 1000)}
	for i := range 100 {
		b.Bytes[fmt.Sprint(i, long)] = i
	}
	h.Add("hq", c)
	h.SetBaseline("hq", b)
	h.Add(long, c)
	h.SetBaseline(long, b)
	h.SetPeers([]string{long, "hq"})
	got := h.Changes("hq")[0]
	if len(got.Diagnosis) != maxLine || len(got.Summary) > maxSummary || !strings.HasPrefix(got.Summary, "a [31m ää") || strings.Contains(got.Summary, "\ufffd") ||
		len(got.Evidence) != maxLines || len(got.Evidence[15]) != maxLine {
		t.Errorf("%+v", got)
	}
	kept, _ := h.Baseline("hq")
	if len(kept.Bytes) != maxMethods || len(kept.Hops) != maxHops || h.Changes(long) != nil {
		t.Errorf("%+v", kept)
	}
}

func TestChangesPerPeer(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir)
	h.Add("other", change(0))
	for i := range maxChanges + 70 {
		h.Add("hq", change(i))
	}
	check := func() {
		t.Helper()
		got := h.Changes("hq")
		if len(got) != maxChanges || got[0].Summary != "change 70" || got[maxChanges-1].Summary != "change 569" || len(h.Changes("other")) != 1 {
			t.Errorf("%d changes from %q on", len(got), got[0].Summary)
		}
	}
	check()
	closeHistory(t, h)
	h = openHistory(t, dir)
	check()
	closeHistory(t, h)
}

// TestHistoryMemory: the bound of all peers together holds, as counted and as measured, and the
// newest changes stay.
func TestHistoryMemory(t *testing.T) {
	before := heap()
	h := openHistory(t, "")
	line := strings.Repeat("x", 100)
	const peers, rounds = 1000, 60
	for i := range peers * rounds {
		name := fmt.Sprintf("peer-%04d", i%peers)
		h.Add(name, Change{At: began().Add(time.Duration(i)), Diagnosis: "peer_silent", Summary: strconv.Itoa(i), Evidence: []string{line, line, line}})
		if i < peers {
			h.SetBaseline(name, baseline())
		}
		if h.size > maxHistory {
			t.Fatalf("%d bytes are counted", h.size)
		}
	}
	measured := heap() - before
	t.Logf("%.1f MiB counted, %.1f MiB measured", mib(h.size), mib(measured))
	if measured > maxHistory || measured < maxHistory/3 {
		t.Errorf("%d bytes are measured, %d counted", measured, h.size)
	}
	for _, i := range []int{0, 500, 999} {
		got := h.Changes(fmt.Sprintf("peer-%04d", i))
		if len(got) < 15 || got[len(got)-1].Summary != strconv.Itoa(peers*(rounds-1)+i) {
			t.Errorf("peer %d has %d changes", i, len(got))
		}
		if _, ok := h.Baseline(fmt.Sprintf("peer-%04d", i)); !ok {
			t.Errorf("the baseline of peer %d is gone", i)
		}
	}
	closeHistory(t, h)
}

// TestManyGonePeers: peers that are gone make room; configured peers stay.
func TestManyGonePeers(t *testing.T) {
	h := openHistory(t, "")
	defer closeHistory(t, h)
	for generation := range 40 {
		names := []string{"hq"}
		for i := range 1000 {
			names = append(names, fmt.Sprintf("peer-%d-%d", generation, i))
		}
		h.SetPeers(names)
		for _, name := range names {
			h.SetBaseline(name, baseline())
		}
	}
	if _, ok := h.Baseline("hq"); !ok || h.size > maxHistory {
		t.Errorf("the configured peer is known: %t; %d bytes", ok, h.size)
	}
	if _, ok := h.Baseline("peer-0-0"); ok {
		t.Error("the peer that left first is still known")
	}
	if _, ok := h.Baseline("peer-39-999"); !ok {
		t.Error("a configured peer is not known")
	}
}

// TestRemovedPeers: the history of a removed peer is kept for 30 days, across restarts, and that of
// configured peers without end.
func TestRemovedPeers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := openHistory(t, dir)
		h.SetPeers([]string{"stays", "goes"})
		h.SetBaseline("stays", baseline())
		h.SetBaseline("goes", baseline())
		h.Add("goes", change(0))
		time.Sleep(60 * 24 * time.Hour)
		h.SetPeers([]string{"stays"})
		known := func(after string, want bool) {
			t.Helper()
			_, ok := h.Baseline("goes")
			if ok != want || (len(h.Changes("goes")) == 1) != want {
				t.Errorf("%s: known %t, want %t", after, ok, want)
			}
			if _, ok := h.Baseline("stays"); !ok {
				t.Errorf("%s: the configured peer is forgotten", after)
			}
		}
		time.Sleep(29 * 24 * time.Hour)
		known("29 days", true)
		closeHistory(t, h)
		h = openHistory(t, dir)
		h.SetPeers([]string{"stays"})
		time.Sleep(12 * time.Hour)
		known("29 days and a restart", true)
		time.Sleep(24 * time.Hour)
		known("31 days", false)
		closeHistory(t, h)
		h = openHistory(t, dir)
		known("31 days and a restart", false)
		closeHistory(t, h)
	})
}

func TestCompare(t *testing.T) {
	a, b, c, d := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.5"), netip.MustParseAddr("198.51.100.9")
	was := Baseline{
		At: time.Date(2026, 1, 2, 2, 14, 33, 0, time.UTC), Bytes: map[string]int{"icmp": 1500, "ike": 1500}, Hops: []netip.Addr{a, b, c, d},
		RoundTrip: 20 * time.Millisecond,
	}
	none := netip.Addr{}
	for name, tt := range map[string]struct {
		now  Baseline
		want string
	}{
		"nothing passes":  {Baseline{}, "1500 bytes passed until 2026-01-02T02:14Z"},
		"less passes":     {Baseline{Bytes: map[string]int{"icmp": 1400, "ike": 1400}, Hops: []netip.Addr{a, b}}, "1500 bytes passed until 2026-01-02T02:14Z, now 1400; hops unchanged up to 198.51.100.1"},
		"one method":      {Baseline{Bytes: map[string]int{"icmp": 1500, "ike": 1400}}, "icmp: 1500 bytes pass as at 2026-01-02T02:14Z; ike: 1500 bytes passed until 2026-01-02T02:14Z, now 1400"},
		"all as it was":   {Baseline{Bytes: was.Bytes, Hops: was.Hops, RoundTrip: 24 * time.Millisecond}, "1500 bytes pass as at 2026-01-02T02:14Z; hops unchanged"},
		"another way":     {Baseline{Bytes: was.Bytes, Hops: []netip.Addr{a, b, d, d}}, "1500 bytes pass as at 2026-01-02T02:14Z; hop 3 changed from 198.51.100.5 to 198.51.100.9"},
		"silent hops":     {Baseline{Bytes: was.Bytes, Hops: []netip.Addr{none, b, none, none}}, "1500 bytes pass as at 2026-01-02T02:14Z; hops unchanged"},
		"all are silent":  {Baseline{Bytes: was.Bytes, Hops: []netip.Addr{none, none}}, "1500 bytes pass as at 2026-01-02T02:14Z"},
		"ends in silence": {Baseline{Bytes: was.Bytes, Hops: []netip.Addr{a, b, none}}, "1500 bytes pass as at 2026-01-02T02:14Z; hops unchanged up to 198.51.100.1"},
		"slower":          {Baseline{Bytes: was.Bytes, RoundTrip: 180 * time.Millisecond}, "1500 bytes pass as at 2026-01-02T02:14Z; round trip 180 ms instead of 20 ms"},
	} {
		if got := was.Compare(tt.now); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := (Baseline{}).Compare(was); got != "" {
		t.Errorf("without a baseline: %q", got)
	}
}
