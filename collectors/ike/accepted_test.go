package ike_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// accept is a reply of a peer that accepts what a probe in IKEv1 offers.
func (f *network) accept(s sent, after time.Duration) reply {
	to := target(address)
	m := message(s, f.keys.SPI(to.Identity(), s.Method.String(), s.Form, 0), 0)
	header := m[len(m)-40:] // 28 bytes of header, 12 of a notify
	header[16], header[18], header[27] = 1, 2, 36
	return reply{after: after, answer: netio.Answer{Outcome: netio.Delivered, Payload: m[:len(m)-4]}}
}

// refuse is a reply of a peer that refuses the offer.
func refuse(s sent) reply { return reply{after: delay, notify: notifyFor(s.Form)} }

// An accepted offer is not sent again, whenever the reply arrives: each one would leave a half-open
// SA at the peer.
func TestAcceptedOfferIsNotMadeAgain(t *testing.T) {
	const main, minor = ikeprobe.V1Main, ikeprobe.V1Minor
	// The rounds are one interval apart.
	tests := map[string]struct {
		script func(n *network, s sent, i int) []reply
		want   [][]ikeprobe.Form // probes by method ike in each round
		state  ike.State         // after the last
	}{
		"the first form": {
			script: func(n *network, s sent, _ int) []reply {
				if s.Form == main {
					return []reply{n.accept(s, delay)}
				}
				return []reply{refuse(s)}
			},
			want:  [][]ikeprobe.Form{{main}, {minor}, {minor}, {minor}},
			state: ike.Responding,
		},
		"another form than the known one": {
			script: func(n *network, s sent, i int) []reply {
				switch {
				case s.Form == minor:
					return []reply{n.accept(s, delay)}
				case i == 0:
					return []reply{refuse(s)}
				}
				return nil
			},
			want:  [][]ikeprobe.Form{{main}, {main, main, main, minor}, {main, main, main}},
			state: ike.Silent,
		},
		"every form": {
			script: func(n *network, s sent, _ int) []reply { return []reply{n.accept(s, delay)} },
			want:   [][]ikeprobe.Form{{main}, {minor}, nil, nil},
			state:  ike.Unknown,
		},
		"after the round": {
			script: func(n *network, s sent, i int) []reply {
				if s.Form == main && i == 0 {
					return []reply{n.accept(s, interval+1500*time.Millisecond)}
				}
				return nil
			},
			// The second round had sent two of its four probes.
			want:  [][]ikeprobe.Form{{main, main, minor, minor}, {main, main, minor, minor}, {minor, minor}},
			state: ike.Silent,
		},
		"before its turn came": {
			script: func(n *network, s sent, i int) []reply {
				if s.Form == minor && i == 0 {
					return []reply{n.accept(s, interval-time.Second)}
				}
				return nil
			},
			want:  [][]ikeprobe.Form{{main, main, minor, minor}, {main, main}, {main, main}},
			state: ike.Silent,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, nil)
				n.script = func(s sent, i int) []reply { return tt.script(n, s, i) }
				to := target(address)
				to.IKE.Version = ikeprobe.V1
				c := ike.New(t.Context(), n, n.keys, to, ike.Options{Interval: interval})
				for i, want := range tt.want {
					since := time.Since(n.began)
					round(c)
					if diff := cmp.Diff(want, n.probes(collectors.IKE, since)); diff != "" {
						t.Errorf("round %d (-want +got):\n%s", i, diff)
					}
				}
				got := c.Results(time.Now()).IKE
				if got.State != tt.state || tt.state == ike.Unknown && !strings.Contains(got.Reason, "half-open") {
					t.Errorf("%s, %q", got.State, got.Reason)
				}
				if d := c.Dialect(collectors.IKE); slices.Contains(d.Ladder(), main) && slices.Contains(d.Ladder(), minor) {
					t.Error("no form was dropped")
				}
			})
		})
	}
}

// An offer accepted at an earlier address says nothing about the peer at the present address.
func TestAcceptedByAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, nil)
		n.script = func(s sent, _ int) []reply { return []reply{n.accept(s, 3*time.Second)} }
		to := target(address)
		to.IKE.Version = ikeprobe.V1
		c := ike.New(t.Context(), n, n.keys, to, ike.Options{Interval: interval})
		c.Tick(time.Now())
		to.Path.Dst = to.Path.Dst.Next()
		c.SetTarget(to)
		time.Sleep(interval)
		synctest.Wait()
		if !c.Dialect(collectors.IKE).Allows(ikeprobe.V1Main) {
			t.Error("the form is not allowed any more")
		}
	})
}
