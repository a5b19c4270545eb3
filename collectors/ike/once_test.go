package ike_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/ike"
	"ipsec_path_exporter/internal/ikeprobe"
)

// TestOnceSilence: a person who waits gets the same forms as often. They are sent a little closer, and the
// next round begins when this one has ended.
func TestOnceSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newNetwork(t, silence), newNetwork(t, silence)
		once := collectors.NewOnce()
		c := ike.New(t.Context(), n, n.keys, target(address), ike.Options{Once: once})
		usual := ike.New(t.Context(), m, m.keys, target(address), ike.Options{})
		for _, c := range []*ike.Collector{usual, c} {
			if got, err := c.Measure(t.Context(), target(address)); err != nil || got.IKE.State != ike.Silent {
				t.Errorf("%+v, %v", got, err)
			}
		}
		for _, by := range collectors.IKEMethods() {
			if a, b := len(n.probes(by, 0)), len(m.probes(by, 0)); a != b || a == 0 {
				t.Errorf("%d probes by %s, want %d", a, by, b)
			}
		}
		began := time.Now()
		if _, err := c.Measure(t.Context(), target(address)); err != nil || time.Since(began) > 10*once.IKEWait+500*time.Millisecond {
			t.Errorf("the next round took %v, %v", time.Since(began), err)
		}
	})
}

// TestOnceAnswered: the next round to a peer that answers may follow soon, and tells the others of its
// round trip.
func TestOnceAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, answering(ikeprobe.V2BadKE))
		once := collectors.NewOnce()
		c := ike.New(t.Context(), n, n.keys, target(address), ike.Options{Once: once})
		began := time.Now()
		for range 2 {
			if got, err := c.Measure(t.Context(), target(address)); err != nil || got.IKE.State != ike.Responding {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if took := time.Since(began); took < once.IKEGap || took > once.IKEGap+time.Second {
			t.Errorf("two rounds took %v", took)
		}
		if rtt := once.RoundTrip(); rtt != delay {
			t.Errorf("round trip %v, want %v", rtt, delay)
		}
	})
}
