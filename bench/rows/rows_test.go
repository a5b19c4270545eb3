package rows

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/exporter/config"
	"ipsec_path_exporter/internal/netlab/crowd"
)

const somePage = `# HELP ipsec_path_icmp_requests_total ICMP echo requests.
# TYPE ipsec_path_icmp_requests_total counter
ipsec_path_icmp_requests_total{peer="p00000",isp="acme"} 12
ipsec_path_icmp_requests_total{isp="acme",peer="p00001"} 1.5e+01
ipsec_path_icmp_requests_total_created{peer="p00001"} 99
ipsec_path_icmp_reachable{peer="p00000"} 0
ipsec_path_icmp_reachable{peer="p00001"} 1
ipsec_path_icmp_round_trip_seconds_bucket{peer="p00000",le="0.02"} 3
ipsec_path_icmp_round_trip_seconds_bucket{peer="p00001",le="0.02"} 4
ipsec_path_icmp_round_trip_seconds_bucket{peer="p00001",le="0.05"} 9
go_goroutines 17
`

func TestPage(t *testing.T) {
	p := page(somePage)
	want := map[string]float64{"p00000": 12, "p00001": 15}
	if diff := cmp.Diff(want, p.byPeer("ipsec_path_icmp_requests_total")); diff != "" {
		t.Error(diff)
	}
	if got := p.sum("ipsec_path_icmp_requests_total"); got != 27 {
		t.Errorf("sum %g", got)
	}
	if got := p.count("ipsec_path_icmp_reachable", 0); got != 1 {
		t.Errorf("%d samples are 0", got)
	}
	if got := p.sum("go_goroutines"); got != 17 {
		t.Errorf("%g goroutines", got)
	}
	if got := p.bucket("ipsec_path_icmp_round_trip_seconds", 0.02); got != 7 {
		t.Errorf("bucket %g", got)
	}
}

func TestChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		check Check
		want  string
	}{
		"met":     {atMost("x", 0.5, 1, "s"), "r: x: 0.50 s (goal: at most 1 s) PASS\n"},
		"missed":  {atMost("x", 1.5, 1, ""), "r: x: 1.50 (goal: at most 1) FAIL\n"},
		"least":   {atLeast("x", 0.9, 0.95), "r: x: 0.90 (goal: at least 0.95) FAIL\n"},
		"range":   {within("x", -0.1, -0.3, 0.3, "ms"), "r: x: -0.10 ms (goal: from -0.30 ms to 0.30 ms) PASS\n"},
		"NaN":     {atMost("x", math.NaN(), 1, ""), "r: x: NaN (goal: at most 1) FAIL\n"},
		"none":    {info("x", 12.34, "MB"), "r: x: 12.3 MB (goal: none) info\n"},
		"skipped": {skipped("x", "fping is not installed"), "r: x: - (goal: none) SKIPPED: fping is not installed\n"},
	} {
		var out strings.Builder
		tt.check.Row = "r"
		if WriteChecks(&out, []Check{tt.check}); out.String() != tt.want {
			t.Errorf("%s: %q, want %q", name, out.String(), tt.want)
		}
		if got, want := tt.check.Failed(), strings.Contains(tt.want, "FAIL"); got != want {
			t.Errorf("%s: failed %t, want %t", name, got, want)
		}
	}
	var out strings.Builder
	noted := atMost("x", 1, 2, "")
	noted.Row, noted.Note = "r", "note"
	WriteTable(&out, []Check{noted})
	want := "| row | measured | value | goal | result | note |\n|---|---|---|---|---|---|\n| r | x | 1 | at most 2 | PASS | note |\n"
	if out.String() != want {
		t.Errorf("table %q", out.String())
	}
}

func TestScrapes(t *testing.T) {
	const output = `goos: linux
BenchmarkScrape/text-2  5  123456 ns/op  512 allocs/scrape  1.2 of-ready  0.2 of-const  3.5 extra-MB  40 cpu-ms/scrape
PASS
`
	checks, err := Scrapes(strings.NewReader(output))
	if err != nil || len(checks) != 4 {
		t.Fatalf("%d checks, %v", len(checks), err)
	}
	var failed []string
	for _, c := range checks {
		if c.Failed() {
			failed = append(failed, c.Row+" "+c.Name)
		}
	}
	if diff := cmp.Diff([]string{"scrape text: CPU, in multiples of const metrics"}, failed); diff != "" {
		t.Error(diff)
	}
	if _, err := Scrapes(strings.NewReader("PASS\n")); err == nil {
		t.Error("an output without the benchmark is accepted")
	}
}

func TestQuantile(t *testing.T) {
	r := residence{{Bin: 100, Count: 10}, {Bin: 200, Count: 10}}
	for q, want := range map[float64]float64{0.25: 1.005e-3, 0.5: 1.01e-3, 0.75: 2.005e-3, 1: 2.01e-3} {
		if got := r.quantile(q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %g: %g, want %g", q, got, want)
		}
	}
}

// TestDifferences plants wrong verdicts in a page.
func TestDifferences(t *testing.T) {
	c := crowd.Config{Count: 2, Mix: []crowd.Share{{Kind: crowd.Hole, Weight: 1}}}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	all := truth{"a": c.Profile(c.Addr(0, false))}
	const right = `ipsec_path_diagnosis{peer="a",diagnosis="pmtu_black_hole",severity="critical"} 1
ipsec_path_icmp_reachable{peer="a"} 1
ipsec_path_ike_responding{peer="a",method="ike"} 1
ipsec_path_ike_responding{peer="a",method="natt"} 1
ipsec_path_mtu_state{peer="a",method="icmp",state="black_hole"} 1
ipsec_path_mtu_state{peer="a",method="ike",state="black_hole"} 1
ipsec_path_mtu_state{peer="a",method="natt",state="black_hole"} 1
ipsec_path_mtu_bytes{peer="a",method="icmp"} 1400
ipsec_path_mtu_bytes{peer="a",method="ike"} 1400
ipsec_path_mtu_bytes{peer="a",method="natt"} 1400
`
	l := &lab{Options: Options{Out: &strings.Builder{}}}
	for name, tt := range map[string]struct {
		old, changed  string
		wrong, accuse int
	}{
		"right":           {"", "", 0, 0},
		"other diagnosis": {"pmtu_black_hole", "peer_silent", 1, 1},
		"no diagnosis":    {`diagnosis="pmtu_black_hole",severity="critical"} 1`, `diagnosis="pmtu_black_hole",severity="critical"} 0`, 1, 0},
		"unreachable":     {"ipsec_path_icmp_reachable{peer=\"a\"} 1", "ipsec_path_icmp_reachable{peer=\"a\"} 0", 1, 0},
		"silent":          {"method=\"natt\"} 1\n", "method=\"natt\"} 0\n", 1, 0},
		"state":           {`method="ike",state="black_hole"`, `method="ike",state="clean"`, 1, 0},
		"size":            {"1400", "1401", 1, 0},
	} {
		accused := make(map[string]bool)
		got := l.differences(all, page(strings.Replace(right, tt.old, tt.changed, 1)), accused)
		if len(got) != tt.wrong || len(accused) != tt.accuse {
			t.Errorf("%s: %v, accused %v", name, got, accused)
		}
	}
}

// TestConfiguration: the exporter accepts what the rows configure.
func TestConfiguration(t *testing.T) {
	peers := crowd.Config{Count: 3}
	if err := peers.Complete(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]exporterConfig{
		"default":   {peers: peers},
		"icmp only": {peers: peers, collectors: []string{"icmp"}, interval: time.Second, packets: 1000},
		"ike":       {peers: peers, collectors: []string{"ike"}, ike: ikeInterval},
	} {
		parsed, err := config.Parse("", []byte(c.text()))
		if err != nil || len(parsed.Peers) != 3 {
			t.Errorf("%s: %v\n%s", name, err, c.text())
		}
	}
}
