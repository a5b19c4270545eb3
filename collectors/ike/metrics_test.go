package ike_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

var errNoTime = errors.New("no more time")

func contextWithLimit(t *testing.T, limit time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeoutCause(t.Context(), limit, errNoTime)
}

// expose returns the page of a collector, without comments.
func expose(t *testing.T, c *ike.Collector) string {
	t.Helper()
	s := collectorstest.OfPeer()
	s.Expose(ike.NewExposer(s, c), time.Now())
	return text(t, s)
}

func text(t *testing.T, s *collectorstest.Scope) string {
	t.Helper()
	var b strings.Builder
	for _, f := range s.Gather() {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, page)
		}
	}
}

func TestExposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(s sent, _ int) []reply {
			if s.Method == collectors.IKE {
				return []reply{{after: delay, answer: netio.Answer{Outcome: netio.Refused, Type: 3, Code: 3}}}
			}
			return answering(ikeprobe.V2Major3)(s, 0)
		})
		c := newCollector(t, n)
		s := collectorstest.OfPeer()
		e := ike.NewExposer(s, c)
		check := func(when, want string) {
			t.Helper()
			s.Expose(e, time.Now())
			if diff := cmp.Diff(want, text(t, s)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		check("before the first round", `ipsec_path_ike_requests_total{peer="hq",method="ike"} 0
ipsec_path_ike_responses_total{peer="hq",method="ike"} 0
ipsec_path_ike_requests_total{peer="hq",method="natt"} 0
ipsec_path_ike_responses_total{peer="hq",method="natt"} 0
`)
		round(c)
		check("one refuses, one responds", `ipsec_path_ike_responding{peer="hq",method="ike"} 0
ipsec_path_ike_requests_total{peer="hq",method="ike"} 1
ipsec_path_ike_responses_total{peer="hq",method="ike"} 0
ipsec_path_ike_responding{peer="hq",method="natt"} 1
ipsec_path_ike_requests_total{peer="hq",method="natt"} 3
ipsec_path_ike_responses_total{peer="hq",method="natt"} 1
ipsec_path_ike_round_trip_seconds{peer="hq",method="natt"} 0.02
ipsec_path_ike_response_info{peer="hq",method="natt",port="4500",version="2",probe="v2-major3",reply="INVALID_MAJOR_VERSION"} 1
`)
		n.script = answering(ikeprobe.V1Main)
		for range 3 {
			round(c)
		}
		s.Expose(e, time.Now())
		wantLines(t, text(t, s),
			`ipsec_path_ike_responding{peer="hq",method="ike"} 1`,
			`ipsec_path_ike_response_info{peer="hq",method="ike",port="500",version="1",probe="v1-main",reply="NO-PROPOSAL-CHOSEN"} 1`,
			`ipsec_path_ike_response_info{peer="hq",method="natt",port="4500",version="1",probe="v1-main",reply="NO-PROPOSAL-CHOSEN"} 1`)

		n.script = silence
		round(c)
		s.Expose(e, time.Now())
		page := text(t, s)
		wantLines(t, page, `ipsec_path_ike_responding{peer="hq",method="natt"} 0`)
		if strings.Contains(page, "info") || strings.Contains(page, "round_trip") {
			t.Errorf("a silent peer says something:\n%s", page)
		}

		time.Sleep(3 * interval)
		s.Expose(e, time.Now())
		if page := text(t, s); strings.Contains(page, "responding") || !strings.Contains(page, "requests_total") {
			t.Errorf("stale:\n%s", page)
		}
		if got := c.Results(time.Now()).IKE; got.State != ike.Unknown || got.Reason != "no round has ended for three intervals" {
			t.Errorf("stale: %+v", got)
		}
	})
}

func TestFamiliesAreComplete(t *testing.T) {
	s := collectorstest.OfPeer()
	ike.NewExposer(s, newCollector(t, newNetwork(t, silence)))
	used := make(map[*collectors.Family]int)
	for _, f := range s.Families {
		used[f]++
	}
	for _, f := range ike.Families() {
		if used[f] != 2 {
			t.Errorf("%s has %d series, want one per method", f.Name, used[f])
		}
		delete(used, f)
	}
	for f := range used {
		t.Errorf("%s is not listed", f.Name)
	}
}

// instant is a Network that answers at once, so that what is measured is the collector.
type instant struct{ ike, natt []byte }

func (instant) Route(netio.Path) (netio.Route, error) { return netio.Route{}, nil }

func (i instant) Send(_ context.Context, p *netio.Packet, _ time.Duration, answer func(netio.Answer)) {
	reply := i.ike
	if p.TokenOffset > 0 {
		reply = i.natt
	}
	copy(reply[p.TokenOffset:], p.Token[:])
	answer(netio.Answer{Outcome: netio.Delivered, RoundTrip: delay, Payload: reply})
}

func BenchmarkRound(b *testing.B) {
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		b.Fatal(err)
	}
	network := instant{
		ike:  message(sent{Method: collectors.IKE}, netio.Token{}, invalidKE),
		natt: message(sent{Method: collectors.NATT}, netio.Token{}, invalidKE),
	}
	c := ike.New(b.Context(), network, keys, target(address), ike.Options{})
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		next := c.Tick(now)
		c.Tick(next)
		now = now.Add(ike.MinGap)
	}
	if got := c.Results(now).NATT.State; got != ike.Responding {
		b.Fatal(got)
	}
}

// TestDigest: results that show the same have one digest, whenever and however they were measured.
func TestDigest(t *testing.T) {
	r := ike.Results{IKE: ike.Result{State: ike.Responding, Reply: "INVALID_KE_PAYLOAD", At: time.Unix(1, 0), Sent: 1, RoundTrip: time.Millisecond}}
	want := r.Digest()
	again := r
	again.IKE.At, again.IKE.Sent, again.NATT.RoundTrip = time.Unix(31, 0), 2, time.Second
	if again.Digest() != want {
		t.Error("the same results have another digest")
	}
	for name, change := range map[string]func(r *ike.Results){
		"state":    func(r *ike.Results) { r.IKE.State = ike.Silent },
		"method":   func(r *ike.Results) { r.IKE, r.NATT = r.NATT, r.IKE },
		"reply":    func(r *ike.Results) { r.IKE.Reply = "COOKIE" },
		"error":    func(r *ike.Results) { r.NATT.Error.Count++ },
		"loss":     func(r *ike.Results) { r.IKE.Loss.Lost++ },
		"sample":   func(r *ike.Results) { r.IKE.Loss.Since = time.Unix(2, 0) },
		"not sent": func(r *ike.Results) { r.NATT.NotSent = true },
	} {
		other := r
		change(&other)
		if other.Digest() == want {
			t.Errorf("another %s has the same digest", name)
		}
	}
}
