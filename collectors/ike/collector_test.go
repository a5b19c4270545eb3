package ike_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

var ladder = ikeprobe.Ladder(ikeprobe.Auto)

var compare = cmp.Options{cmpopts.IgnoreFields(ike.Result{}, "At"), cmpopts.EquateComparable(netip.Addr{})}

// round acts as the schedule for one interval: it calls Tick now and when the collector asks for
// it.
func round(c *ike.Collector) {
	end := time.Now().Add(interval)
	for next := c.Tick(time.Now()); !next.IsZero() && next.Before(end); next = c.Tick(time.Now()) {
		time.Sleep(time.Until(next))
	}
	time.Sleep(time.Until(end))
	synctest.Wait()
}

// probes returns the forms sent by one method since the given time.
func (f *network) probes(m collectors.Method, since time.Duration) []ikeprobe.Form {
	f.mu.Lock()
	defer f.mu.Unlock()
	var forms []ikeprobe.Form
	for _, s := range f.sent {
		if s.Method == m && s.At >= since {
			forms = append(forms, s.Form)
		}
	}
	return forms
}

// times returns the times of all probes of one method.
func (f *network) times(m collectors.Method) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var at []time.Duration
	for _, s := range f.sent {
		if s.Method == m {
			at = append(at, s.At)
		}
	}
	return at
}

func newCollector(t *testing.T, n *network) *ike.Collector {
	t.Helper()
	return ike.New(t.Context(), n, n.keys, target(address), ike.Options{Interval: interval})
}

func TestWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		c := newCollector(t, n)
		round(c)
		var want []ikeprobe.Form
		for _, f := range ladder {
			want = append(want, f, f)
		}
		for _, m := range []collectors.Method{collectors.IKE, collectors.NATT} {
			if diff := cmp.Diff(want, n.probes(m, 0)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", m, diff)
			}
		}
		ms := time.Millisecond
		wantAt := []time.Duration{0, 1000 * ms, 1800 * ms, 2800 * ms, 3600 * ms, 4600 * ms, 5400 * ms, 6400 * ms, 7200 * ms, 8200 * ms}
		if diff := cmp.Diff(wantAt, n.times(collectors.IKE)); diff != "" {
			t.Errorf("times of ike (-want +got):\n%s", diff)
		}
		for i := range wantAt {
			wantAt[i] += 500 * ms
		}
		if diff := cmp.Diff(wantAt, n.times(collectors.NATT)); diff != "" {
			t.Errorf("times of natt (-want +got):\n%s", diff)
		}
		want2 := ike.Results{IKE: ike.Result{State: ike.Silent, Sent: 10, Port: 500}, NATT: ike.Result{State: ike.Silent, Sent: 10, Port: 4500}}
		if diff := cmp.Diff(want2, c.Results(time.Now()), compare); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
	})
}

func TestWalkOfOneVersion(t *testing.T) {
	for _, version := range []ikeprobe.Version{ikeprobe.V1, ikeprobe.V2} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, silence)
			to := target(address)
			to.IKE.Version = version
			c := ike.New(t.Context(), n, n.keys, to, ike.Options{})
			round(c)
			if got := slices.Compact(n.probes(collectors.IKE, 0)); !slices.Equal(got, ikeprobe.Ladder(version)) {
				t.Errorf("version %v: asked %v", version, got)
			}
			if got := c.Results(time.Now()).IKE.State; got != ike.Silent {
				t.Errorf("version %v: %v", version, got)
			}
		})
	}
}

func TestPacketsOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		account := &netio.Account{}
		c := ike.New(t.Context(), n, n.keys, target(address), ike.Options{Account: account})
		round(c)
		for i, p := range n.packets {
			wantPort, wantOffset := uint16(500), 0
			if n.sent[i].Method == collectors.NATT {
				wantPort, wantOffset = 4500, 4
			}
			if p.Protocol != netio.UDP || p.Port != wantPort || p.TokenOffset != wantOffset || p.DontFragment ||
				p.Path != target(address).Path || p.Account != account {
				t.Errorf("%v: packet %+v", n.sent[i], p)
			}
			message := p.Payload[wantOffset:]
			if netio.Token(message) != p.Token {
				t.Errorf("%v: initiator SPI is not the token", n.sent[i])
			}
			if !slices.Equal(message[8:16], make([]byte, 8)) || !slices.Equal(message[20:24], make([]byte, 4)) {
				t.Errorf("%v: responder SPI %x, message ID %x", n.sent[i], message[8:16], message[20:24])
			}
			if want := ikeprobe.Size(n.sent[i].Form, ikeprobe.PSK, wantOffset > 0); len(p.Payload) != want {
				t.Errorf("%v: %d bytes, natural size %d", n.sent[i], len(p.Payload), want)
			}
		}
	})
}

// Tries of one form in one round are identical; the next round sends other bytes with the same SPI.
func TestRetriesAreIdentical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, silence)
		c := newCollector(t, n)
		round(c)
		round(c)
		rounds := make(map[sent][][]byte)
		for i, p := range n.packets {
			key := sent{Method: n.sent[i].Method, Form: n.sent[i].Form}
			rounds[key] = append(rounds[key], p.Payload)
		}
		for key, payloads := range rounds {
			if len(payloads) != 4 || !slices.Equal(payloads[0], payloads[1]) || !slices.Equal(payloads[2], payloads[3]) {
				t.Errorf("%v: tries differ", key)
			}
			if key.Form.Version() == ikeprobe.V2 && slices.Equal(payloads[0], payloads[2]) {
				t.Errorf("%v: the nonce was used in two rounds", key)
			}
		}
	})
}

func TestSticks(t *testing.T) {
	for _, form := range ladder {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, answering(form))
			c := newCollector(t, n)
			round(c)
			found := time.Since(n.began)
			for range 3 {
				round(c)
			}
			if got := n.probes(collectors.NATT, found); !slices.Equal(got, []ikeprobe.Form{form, form, form}) {
				t.Errorf("three rounds after %v was answered: asked %v", form, got)
			}
			got := c.Results(time.Now()).NATT
			if got.State != ike.Responding || got.Form != form || got.Version != form.Version() || got.RoundTrip != delay {
				t.Errorf("%v: %+v", form, got)
			}
			if d := c.Dialect(collectors.NATT); !d.Answered() || d.Form() != form {
				t.Errorf("dialect %v, answered %v", d.Form(), d.Answered())
			}
		})
	}
}

// A known form that is not answered is still tried first for three rounds, before the other forms.
func TestThreeSilentRounds(t *testing.T) {
	const form = ikeprobe.V2NoProp
	firstOf := func(n *network, since time.Duration) ikeprobe.Form { return n.probes(collectors.IKE, since)[0] }

	t.Run("nothing is answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, answering(form))
			c := newCollector(t, n)
			round(c)
			n.script = silence
			for i := range 3 {
				since := time.Since(n.began)
				round(c)
				want := []ikeprobe.Form{form, form, form, ikeprobe.V2BadKE, ikeprobe.V2Major3, ikeprobe.V1Main, ikeprobe.V1Minor}
				if diff := cmp.Diff(want, n.probes(collectors.IKE, since)); diff != "" {
					t.Errorf("silent round %d (-want +got):\n%s", i+1, diff)
				}
				if got := c.Results(time.Now()).IKE.State; got != ike.Silent {
					t.Errorf("silent round %d: %v", i+1, got)
				}
				if at := n.times(collectors.NATT); at[len(at)-1]+time.Second-since >= ike.MinGap {
					t.Errorf("silent round %d takes %v", i+1, at[len(at)-1]+time.Second-since)
				}
			}
			since := time.Since(n.began)
			round(c)
			if got := firstOf(n, since); got != ladder[0] {
				t.Errorf("after three silent rounds the walk begins with %v", got)
			}
		})
	})
	t.Run("another form is answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, answering(form))
			c := newCollector(t, n)
			round(c)
			n.script = answering(ikeprobe.V1Main)
			for i, want := range []ikeprobe.Form{form, form, form, ikeprobe.V1Main} {
				since := time.Since(n.began)
				round(c)
				if got := firstOf(n, since); got != want {
					t.Errorf("round %d begins with %v, want %v", i+1, got, want)
				}
				if got := c.Results(time.Now()).IKE; got.State != ike.Responding || got.Form != ikeprobe.V1Main {
					t.Errorf("round %d: %v by %v", i+1, got.State, got.Form)
				}
			}
		})
	})
	t.Run("two silent rounds are forgiven", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t, answering(form))
			c := newCollector(t, n)
			round(c)
			for range 3 {
				n.script = silence
				round(c)
				round(c)
				n.script = answering(form)
				since := time.Since(n.began)
				round(c)
				if got := n.probes(collectors.IKE, since); !slices.Equal(got, []ikeprobe.Form{form}) {
					t.Errorf("asked %v", got)
				}
			}
		})
	})
}

func TestReplies(t *testing.T) {
	lost := func(first int, then ...reply) func(sent, int) []reply {
		return func(_ sent, n int) []reply {
			if n < first {
				return nil
			}
			return then
		}
	}
	router := netip.MustParseAddr("198.51.100.1")
	tests := []struct {
		name   string
		script func(s sent, n int) []reply
		rounds int
		want   ike.Result // of method ike
		probes int        // by method ike in the last round
		unsent int        // of them
	}{
		{
			name:   "at once",
			script: lost(0, reply{after: delay, notify: invalidKE}),
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: delay},
			probes: 1,
		},
		{
			name:   "one lost packet, and the round trip is ambiguous",
			script: lost(1, reply{after: delay, notify: invalidKE}),
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD"},
			probes: 2,
		},
		{
			name: "two lost packets of a known form",
			script: func(_ sent, n int) []reply {
				if n == 1 || n == 2 {
					return nil
				}
				return []reply{{after: delay, notify: invalidKE}}
			},
			rounds: 2,
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: delay},
			probes: 3,
		},
		{
			name:   "a cookie is an answer and is not sent back",
			script: lost(0, reply{after: delay, notify: cookie}),
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "COOKIE", RoundTrip: delay},
			probes: 1,
		},
		{
			name:   "two replies",
			script: lost(0, reply{after: delay, notify: invalidKE}, reply{after: 2 * delay, notify: noProposal}),
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: delay},
			probes: 1,
		},
		{
			name: "late within the round",
			script: func(s sent, n int) []reply {
				if s.Form == ikeprobe.V2BadKE && n == 1 {
					return []reply{{after: 1500 * time.Millisecond, notify: invalidKE}}
				}
				return nil
			},
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD"},
			probes: 3, // the third had been sent
		},
		{
			name: "late behind the round",
			script: func(s sent, n int) []reply {
				if s.Form == ikeprobe.V1Minor && n == 1 {
					return []reply{{after: 5 * time.Second, notify: noProposal}}
				}
				return nil
			},
			want:   ike.Result{State: ike.Responding, Form: ikeprobe.V1Minor, Version: ikeprobe.V1, Reply: "NO-PROPOSAL-CHOSEN"},
			probes: 10,
		},
		{
			name: "refused",
			script: lost(0, reply{after: delay, answer: netio.Answer{
				Outcome: netio.Refused, Type: 3, Code: 3, From: netip.MustParseAddr(address),
			}}),
			want: ike.Result{
				State: ike.Refused,
				Error: collectors.PathError{Outcome: netio.Refused, Type: 3, Code: 3, From: netip.MustParseAddr(address), Count: 1},
			},
			probes: 1,
		},
		{
			name:   "other ICMP errors are silence",
			script: lost(0, reply{after: delay, answer: netio.Answer{Outcome: netio.Unreachable, Type: 3, Code: 13, From: router}}),
			want: ike.Result{
				State: ike.Silent,
				Error: collectors.PathError{Outcome: netio.Unreachable, Type: 3, Code: 13, From: router, Count: 10},
			},
			probes: 10,
		},
		{
			name:   "no IKE message",
			script: lost(0, reply{after: delay, answer: netio.Answer{Outcome: netio.Delivered, Payload: []byte("hello")}}),
			want:   ike.Result{State: ike.Silent},
			probes: 10,
		},
		{
			name: "a reply behind something that is none",
			script: lost(0, reply{after: delay, answer: netio.Answer{Outcome: netio.Delivered, Payload: []byte("hello")}},
				reply{after: 2 * delay, notify: invalidKE}),
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: 2 * delay},
			probes: 1,
		},
		{
			name:   "not sent",
			script: lost(0, reply{answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("network is unreachable")}}),
			want:   ike.Result{Reason: "network is unreachable", NotSent: true},
			probes: 2,
			unsent: 2,
		},
		{
			name:   "too large for this host",
			script: lost(0, reply{answer: netio.Answer{Outcome: netio.TooBigLocally}}),
			want:   ike.Result{Reason: "too_big_locally", NotSent: true},
			probes: 2,
			unsent: 2,
		},
		{
			name: "not sent once",
			script: func(_ sent, n int) []reply {
				if n == 0 {
					return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("no buffers")}}}
				}
				return []reply{{after: delay, notify: invalidKE}}
			},
			want:   ike.Result{State: ike.Responding, Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: delay},
			probes: 2,
			unsent: 1,
		},
		{
			name: "a form that never left is not silent",
			script: func(s sent, n int) []reply {
				if s.Form == ikeprobe.V2NoProp && n == 1 || s.Form == ikeprobe.V1Main && n == 0 {
					return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("no buffers")}}}
				}
				return nil
			},
			want:   ike.Result{Reason: "no buffers", NotSent: true},
			probes: 7,
			unsent: 2,
		},
		{
			name: "a form that never left, in a round with a known one",
			script: func(s sent, n int) []reply {
				switch {
				case s.Form == ikeprobe.V2BadKE && n == 0:
					return []reply{{after: delay, notify: invalidKE}}
				case s.Form == ikeprobe.V2NoProp:
					return []reply{{answer: netio.Answer{Outcome: netio.NotSent, Err: errors.New("no buffers")}}}
				}
				return nil
			},
			rounds: 2,
			want: ike.Result{
				Version: ikeprobe.V2, Reply: "INVALID_KE_PAYLOAD", RoundTrip: delay, Reason: "no buffers", NotSent: true,
			},
			probes: 7,
			unsent: 1,
		},
		{
			name: "the stateful probe is silent",
			script: func(s sent, _ int) []reply {
				if s.Form != ikeprobe.V2Major3 {
					return nil
				}
				return []reply{{after: delay, notify: invalidMajor}}
			},
			want: ike.Result{
				State: ike.Responding, Form: ikeprobe.V2Major3, Version: ikeprobe.V2, Reply: "INVALID_MAJOR_VERSION",
				RoundTrip: delay, BadKESilent: true, BadKESent: 2,
			},
			probes: 3,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, tt.script)
				c := newCollector(t, n)
				var since time.Duration
				for range max(1, tt.rounds) {
					since = time.Since(n.began)
					round(c)
				}
				tt.want.Port, tt.want.Sent = 500, tt.probes-tt.unsent
				got := c.Results(time.Now())
				if diff := cmp.Diff(tt.want, got.IKE, compare, cmpopts.IgnoreFields(ike.Result{}, "Detail")); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if got.Of(collectors.NATT).State != got.Of(collectors.IKE).State {
					t.Errorf("natt is %v", got.NATT.State)
				}
				if probes := n.probes(collectors.IKE, since); len(probes) != tt.probes {
					t.Errorf("asked %v, want %d probes", probes, tt.probes)
				}
			})
		})
	}
}

// The two methods have separate results.
func TestMethodsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, func(s sent, _ int) []reply {
			if s.Method == collectors.NATT {
				return []reply{{after: delay, notify: invalidKE}}
			}
			return nil
		})
		c := newCollector(t, n)
		round(c)
		got := c.Results(time.Now())
		if got.IKE.State != ike.Silent || got.NATT.State != ike.Responding {
			t.Errorf("ike %v, natt %v", got.IKE.State, got.NATT.State)
		}
		if got := n.probes(collectors.NATT, 0); len(got) != 1 {
			t.Errorf("natt asked %v", got)
		}
	})
}
