package flows_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/flows"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// TestComplete: a black hole that is found after the flows were compared is asked about by large packets
// alone, and what was compared before stays as old as it is.
func TestComplete(t *testing.T) {
	large := func(p *netio.Packet) bool { return p.WireSize() > 1400 && p.Port == 500 }
	for name, tt := range map[string]struct {
		block func(p *netio.Packet) bool
		want  flows.State
	}{
		"in every flow":         {large, flows.Silent},
		"in the flow in use":    {func(p *netio.Packet) bool { return large(p) && own(p) }, flows.Split},
		"in every flow but one": {func(p *netio.Packet) bool { return large(p) && p.Path.Flow%8 != 0 }, flows.Split},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := netsim.New(netsim.Config{Block: tt.block, Delay: delay}, 1)
				hole := 0
				c := flows.New(path, completing(t, &hole))
				before, err := c.Measure(t.Context(), collectorstest.Target(false))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				path.Forget()
				if r, err := c.Complete(t.Context(), collectorstest.Target(false)); err != nil || len(r.Results) != 3 || len(path.Sent()) > 0 {
					t.Errorf("without a black hole: %d results after %d packets, %v", len(r.Results), len(path.Sent()), err)
				}
				hole = 1401
				r, err := c.Complete(t.Context(), collectorstest.Target(false))
				if err != nil {
					t.Fatal(err)
				}
				if got := r.Large(collectors.IKE); got.State != tt.want || got.Bytes != hole || !r.At.Equal(before.At) {
					t.Errorf("%s of %d bytes, want %s; of %v after the comparison", got.State, got.Bytes, tt.want, r.At.Sub(before.At))
				}
				for _, s := range path.Sent() {
					if s.Size != hole || s.Port != 500 {
						t.Errorf("a packet of %d bytes to port %d", s.Size, s.Port)
					}
				}
				if len(path.Sent()) == 0 || len(c.Snapshot().Results) != 4 || r.Results[1].Method != collectors.IKE || r.Results[2].Bytes != hole {
					t.Errorf("%d packets, results %+v", len(path.Sent()), r.Results)
				}
				path.Forget()
				if _, err := c.Complete(t.Context(), collectorstest.Target(false)); err != nil || len(path.Sent()) > 0 {
					t.Errorf("again: %d packets, %v", len(path.Sent()), err)
				}
			})
		})
	}
}

// completing are the options of a collector of a black hole to IKE that is found later.
func completing(t *testing.T, hole *int) flows.Options {
	t.Helper()
	keys, err := ikeprobe.NewKeyring()
	if err != nil {
		t.Fatal(err)
	}
	dialects := make(map[collectors.Method]*ikeprobe.Dialect)
	for _, m := range collectors.IKEMethods() {
		dialects[m] = ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK)
		dialects[m].Confirm(ikeprobe.V2BadKE)
	}
	return flows.Options{Keys: keys, Seed: 1, Dialects: dialects, Once: collectors.NewOnce(), Hole: func(m collectors.Method) int {
		if m == collectors.IKE {
			return *hole
		}
		return 0
	}}
}

// TestOncePace: a person who waits for it gets the same answers from as many packets, sooner where IKE is
// answered; echo requests keep their distance, because their replies may be limited in rate.
func TestOncePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hole := 0
		path := netsim.New(netsim.Config{Delay: delay}, 1)
		r, err := flows.New(path, completing(t, &hole)).Measure(t.Context(), collectorstest.Target(false))
		if err != nil || r.State() != flows.Even {
			t.Fatalf("%v, %v", r.State(), err)
		}
		last := make(map[uint16]time.Duration)
		for _, s := range path.Sent() {
			want := collectors.NewOnce().FlowSpacing
			if s.Protocol == netio.Echo {
				want = 250 * time.Millisecond
			}
			if before, ok := last[s.Port]; ok && s.At-before < want {
				t.Errorf("%s to port %d after %v", s.Protocol, s.Port, s.At-before)
			}
			last[s.Port] = s.At
		}
		if len(path.Sent()) != 11 || last[500] >= 500*time.Millisecond {
			t.Errorf("%d packets, the last to port 500 after %v", len(path.Sent()), last[500])
		}
	})
}
