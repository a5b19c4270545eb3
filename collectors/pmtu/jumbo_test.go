package pmtu

import (
	"testing"
	"testing/synctest"
	"time"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
)

// TestResponderThatRefusesLargeMessages: on a link of jumbo frames, the size that an IKE daemon
// takes is not the path MTU.
func TestResponderThatRefusesLargeMessages(t *testing.T) {
	const link = 9000
	for name, tt := range map[string]struct {
		mtu, takes int // the path, and the IKE octets that the responder takes
		first      Result
		later      Result
		most       int // packets of a later round
	}{
		"takes what it must":            {link, 3000, Result{State: search.Inconclusive, Bytes: 3028}, Result{State: search.Inconclusive, Bytes: 3028}, 1},
		"takes 8 KiB":                   {link, 8192, Result{State: search.Inconclusive, Bytes: 8220}, Result{State: search.Inconclusive, Bytes: 3028}, 1},
		"takes everything":              {link, 65000, Result{State: search.Clean, Bytes: link}, Result{State: search.Clean, Bytes: link}, 1},
		"black hole below what it must": {1400, 3000, Result{State: search.BlackHole, Bytes: 1400}, Result{State: search.BlackHole, Bytes: 1400}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				respond := netsim.Responder()
				path := netsim.New(netsim.Config{
					MTU: tt.mtu, Route: netio.Route{LinkMTU: link}, PTB: netsim.PTBs{Drop: true}, Delay: 20 * time.Millisecond,
					Respond: func(port uint16, payload []byte) []byte {
						if len(payload) > tt.takes {
							return nil
						}
						return respond(port, payload)
					},
				}, 1)
				c := collector(t, path, collectors.IKE)
				for round, want := range []Result{tt.first, tt.later, tt.later} {
					r := measure(t, c, collectorstest.Target(false))
					if r.State != want.State || r.Bytes != want.Bytes || r.LinkBytes != link {
						t.Errorf("round %d: %s %d of %d, want %s %d", round, r.State, r.Bytes, r.LinkBytes, want.State, want.Bytes)
					}
					if round > 0 && r.Packets > tt.most {
						t.Errorf("round %d took %d packets", round, r.Packets)
					}
					if s := c.Snapshot(); s.BlackHole != (want.State == search.BlackHole) {
						t.Errorf("round %d: black hole %t", round, s.BlackHole)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// TestWalk: where no other collector looks for the form that a peer answers, the rounds do.
func TestWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{Delay: 20 * time.Millisecond, Respond: netsim.Responder(1)}, 1)
		keys, err := ikeprobe.NewKeyring()
		if err != nil {
			t.Fatal(err)
		}
		c := New(path, Options{
			Methods: []collectors.Method{collectors.IKE}, Keys: keys, Walk: true,
			Dialects: map[collectors.Method]*ikeprobe.Dialect{collectors.IKE: ikeprobe.NewDialect(ikeprobe.Auto, ikeprobe.PSK)},
		})
		for range len(ikeprobe.Ladder(ikeprobe.Auto)) {
			if r := measure(t, c, collectorstest.Target(false)); r.State == search.Clean {
				if r.Form != ikeprobe.V1Main.String() {
					t.Errorf("answered by %s", r.Form)
				}
				return
			}
		}
		t.Error("an IKEv1 peer was never spoken to in IKEv1")
	})
}
