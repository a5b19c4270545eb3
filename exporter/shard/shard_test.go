package shard

import (
	"errors"
	"fmt"
	"math"
	"testing"
)

// TestJump compares with values that other implementations of the algorithm give.
func TestJump(t *testing.T) {
	for _, tt := range []struct {
		key     uint64
		buckets int
		want    int
	}{
		{1, 1, 0}, {42, 57, 43}, {0xDEAD10CC, 1, 0}, {0xDEAD10CC, 666, 361}, {256, 1024, 520},
	} {
		if got := jump(tt.key, tt.buckets); got != tt.want {
			t.Errorf("jump(%d, %d) = %d, want %d", tt.key, tt.buckets, got, tt.want)
		}
	}
}

// populations are sets of names as operators give them.
func populations(n int) map[string][]string {
	all := make(map[string][]string)
	for i := range n {
		all["branches"] = append(all["branches"], fmt.Sprintf("branch-%05d", i))
		all["addresses"] = append(all["addresses"], fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
		all["hosts"] = append(all["hosts"], fmt.Sprintf("vpn%d.site%d.example.net", i%7, i))
	}
	return all
}

// band is how many standard deviations of the binomial distribution a count may be off: one test in
// 500 million would fail by chance for each count, and the names are fixed.
const band = 6

// binomial reports whether k of n may be a draw with probability p.
func binomial(k, n int, p float64) bool {
	return math.Abs(float64(k)-float64(n)*p) <= band*math.Sqrt(float64(n)*p*(1-p))
}

// TestBalance: every shard has its share of the names, within what chance allows.
func TestBalance(t *testing.T) {
	const n = 30_000
	for kind, names := range populations(n) {
		for _, total := range []int{1, 2, 3, 7, 10, 64, Most} {
			counts := make([]int, total)
			for _, name := range names {
				counts[Of(name, total)]++
			}
			for shard, k := range counts {
				if !binomial(k, n, 1/float64(total)) {
					t.Errorf("%s: shard %d of %d has %d of %d", kind, shard, total, k, n)
				}
			}
		}
	}
}

// TestEveryNameHasOneShard: asked one by one, exactly one shard has each name.
func TestEveryNameHasOneShard(t *testing.T) {
	for kind, names := range populations(1000) {
		for total := 1; total <= 40; total++ {
			for _, name := range names {
				owners := 0
				for i := range total {
					if (Shard{Index: i, Total: total}).Has(name) {
						owners++
					}
				}
				if owners != 1 {
					t.Fatalf("%s: %q belongs to %d of %d shards", kind, name, owners, total)
				}
			}
		}
	}
}

// TestGrowthMovesTheLeast: one more shard takes its share, and no name moves between the others.
func TestGrowthMovesTheLeast(t *testing.T) {
	const n = 30_000
	for kind, names := range populations(n) {
		for _, total := range []int{1, 2, 3, 4, 9, 10, 31, 100} {
			moved := 0
			for _, name := range names {
				before, after := Of(name, total), Of(name, total+1)
				if before == after {
					continue
				}
				if moved++; after != total {
					t.Fatalf("%s: from %d to %d shards, %q moves from %d to %d", kind, total, total+1, name, before, after)
				}
			}
			if !binomial(moved, n, 1/float64(total+1)) {
				t.Errorf("%s: from %d to %d shards, %d of %d names move", kind, total, total+1, moved, n)
			}
		}
	}
}

// TestStable: the shard of a name must not change with a version of the program, or an upgrade would
// move all peers.
func TestStable(t *testing.T) {
	for name, want := range map[string]int{"hq": 0, "branch-00001": 2, "203.0.113.10": 2, "": 2} {
		if got := Of(name, 4); got != want {
			t.Errorf("%q is in shard %d of 4, and was in %d", name, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		index string
		total int
		host  string
		want  Shard
		err   string
	}{
		{index: "", total: 1, want: Shard{0, 1}},
		{index: "0", total: 1, want: Shard{0, 1}},
		{index: "3", total: 4, want: Shard{3, 4}},
		{index: "auto", total: 4, host: "exporter-3", want: Shard{3, 4}},
		{index: "auto", total: 12, host: "ipsec-path-11.monitoring.example.net", want: Shard{11, 12}},
		{index: "auto", total: 1, host: "exporter-0", want: Shard{0, 1}},
		{index: "", total: 0, err: "--total-shards=0: must be a whole number from 1 to 1000"},
		{index: "0", total: 1001, err: "--total-shards=1001: must be a whole number from 1 to 1000"},
		{index: "", total: 4, err: "--shard: missing: --total-shards=4 needs --shard=0 to 3, or auto"},
		{index: "4", total: 4, err: "--shard=4: not one of the shards of --total-shards=4: must be 0 to 3"},
		{index: "1", total: 1, err: "--shard=1: not one of the shards of --total-shards=1: must be 0"},
		{index: "-1", total: 4, err: "--shard=-1: not one of the shards: must be 0 to 3, or auto"},
		{index: "two", total: 1, err: "--shard=two: not one of the shards: must be 0, or auto"},
		{
			index: "auto", total: 4, host: "web01",
			err: `--shard=auto: host name "web01" does not end in -NUMBER, as the host names of a StatefulSet do (give --shard=0 to 3)`,
		},
		{
			index: "auto", total: 4, host: "-3",
			err: `--shard=auto: host name "-3" does not end in -NUMBER, as the host names of a StatefulSet do (give --shard=0 to 3)`,
		},
		{
			index: "auto", total: 4, host: "exporter-4",
			err: `--shard=auto: host name "exporter-4" is shard 4, which is not one of the shards of --total-shards=4: must be 0 to 3`,
		},
	} {
		got, err := Parse(tt.index, tt.total, func() (string, error) { return tt.host, nil })
		if text := fmt.Sprint(err); got != tt.want || (err != nil || tt.err != "") && text != tt.err {
			t.Errorf("--shard=%s --total-shards=%d at %q: %v, %v; want %v, %s", tt.index, tt.total, tt.host, got, err, tt.want, tt.err)
		}
	}
	unnamed := errors.New("no host name")
	if _, err := Parse("auto", 4, func() (string, error) { return "", unnamed }); !errors.Is(err, unnamed) {
		t.Errorf("without a host name: %v", err)
	}
}

// FuzzOrdinal looks for host names that are accepted and no ordinal.
func FuzzOrdinal(f *testing.F) {
	for _, host := range []string{"exporter-3", "exporter-3.example.net", "web01", "a-", "-1", "a-99999999999", "a-+1"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		s, err := Parse(Auto, Most, func() (string, error) { return host, nil })
		if err == nil && (s.Index < 0 || s.Index >= Most || s.Total != Most) {
			t.Errorf("%q gives %+v", host, s)
		}
	})
}
