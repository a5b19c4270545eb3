package fragments

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/silence"
)

// TestSilentPortIsNotAsked: no fragments go to a port that was answered before and stays silent.
func TestSilentPortIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record, path := silence.New(), netsim.New(netsim.Config{}, 1)
		c := collector(t, path)
		c.opts.Silence = record
		for range 5 {
			_, _ = record.Admit(netio.Lane(collectorstest.Target(false).Path, netio.UDP, 500), time.Now(), silence.Probe{Packets: 1, Plain: true})
		}
		time.Sleep(10 * time.Second)
		got, err := c.Measure(t.Context(), collectorstest.Target(false))
		if err != nil {
			t.Fatal(err)
		}
		if r := got.Of(collectors.IKE); r.State != Unknown || !r.Unasked || r.Reason == "" {
			t.Errorf("silent port: %+v", r)
		}
		if r := got.Of(collectors.NATT); r.State != Pass {
			t.Errorf("the other port: %+v", r)
		}
		for _, p := range path.Sent() {
			if p.Port == 500 {
				t.Fatalf("sent %+v", p)
			}
		}
	})
}
