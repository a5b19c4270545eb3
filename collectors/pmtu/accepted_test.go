package pmtu

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipsec_path_exporter/collectors"
	"ipsec_path_exporter/collectors/collectorstest"
	"ipsec_path_exporter/collectors/pmtu/search"
	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/netsim"
	"ipsec_path_exporter/internal/wire/ike"
)

// The version octets of the IKEv1 forms.
const versionMain, versionMinor = 0x10, 0x15

// accepting is a peer that takes every IKEv1 offer under these version octets, and refuses all
// others.
func accepting(versions ...byte) func(port uint16, payload []byte) []byte {
	refuse := netsim.Responder()
	return func(port uint16, payload []byte) []byte {
		message := payload
		if port == collectorstest.Target(false).IKE.NATTPort {
			message = payload[collectors.NATT.Marker():]
		}
		for _, v := range versions {
			if message[17] != v {
				continue
			}
			reply := append([]byte(nil), payload[:len(payload)-len(message)+ike.HeaderLength]...)
			m := reply[len(reply)-ike.HeaderLength:]
			copy(m[8:], "accepted") // the responder's cookie
			m[16], m[17], m[27] = byte(ike.PayloadSA1), versionMain, ike.HeaderLength+8
			return append(reply, 0, 0, 0, 8, 0, 0, 0, 1)
		}
		return refuse(port, payload)
	}
}

// inVersion1 is the peer of the tests, spoken to in IKEv1.
func inVersion1() collectors.Target {
	to := collectorstest.Target(false)
	to.IKE.Version = ikeprobe.V1
	return to
}

// An offer that was accepted is not made again: it would leave one half-open SA after the other at
// the peer.
func TestAcceptedOfferIsNotMadeAgain(t *testing.T) {
	// A found is what one round came to: an error, or a form and the path MTU.
	type found struct {
		Packets  int
		Accepted bool
		Form     string
		Bytes    int
	}
	tests := map[string]struct {
		path   netsim.Config
		method collectors.Method
		want   []found
	}{
		"ike": {
			path: netsim.Config{Respond: accepting(versionMain)}, method: collectors.IKE,
			want: []found{{Packets: 1, Accepted: true}, {Packets: 1, Form: "v1-minor", Bytes: 1500}, {Packets: 1, Form: "v1-minor", Bytes: 1500}},
		},
		"natt": {
			path: netsim.Config{Respond: accepting(versionMain)}, method: collectors.NATT,
			want: []found{{Packets: 1, Accepted: true}, {Packets: 1, Form: "v1-minor", Bytes: 1500}},
		},
		"every form": {
			path: netsim.Config{Respond: accepting(versionMain, versionMinor)}, method: collectors.IKE,
			want: []found{{Packets: 1, Accepted: true}, {Packets: 1, Accepted: true}, {Accepted: true}, {Accepted: true}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.path.Delay = 20 * time.Millisecond
				path := netsim.New(tt.path, 1)
				c := collector(t, path, tt.method)
				for i, want := range tt.want {
					path.Forget()
					results, err := c.Measure(t.Context(), inVersion1())
					got := found{Packets: len(path.Sent()), Accepted: errors.Is(err, collectors.ErrAccepted)}
					for _, r := range results.Results {
						got.Form, got.Bytes = r.Form, r.Bytes
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("round %d, error %v (-want +got):\n%s", i, err, diff)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

// A reply that comes when the search has ended counts as well.
func TestOfferIsAcceptedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := netsim.New(netsim.Config{Loss: 1}, 1)
		measure(t, collector(t, silent, collectors.IKE), inVersion1())
		packets := len(silent.Sent())

		sent := 0
		path := netsim.New(netsim.Config{
			Respond: accepting(versionMain), Delay: 1500 * time.Millisecond,
			Block: func(*netio.Packet) bool { sent++; return sent < packets }, // all but the last
		}, 1)
		c := collector(t, path, collectors.IKE)
		if r := measure(t, c, inVersion1()); r.State != search.Unreachable || len(path.Sent()) != packets {
			t.Fatalf("%s after %d packets, want %d", r.State, len(path.Sent()), packets)
		}
		time.Sleep(time.Minute)
		path.Set(func(c *netsim.Config) { c.Delay = 20 * time.Millisecond })
		if r := measure(t, c, inVersion1()); r.State != search.Clean || r.Form != "v1-minor" {
			t.Errorf("next round: %s by %s", r.State, r.Form)
		}
	})
}

// Another collector may find out during a search that the form is accepted: the search ends before
// its next packet.
func TestFormIsDroppedDuringASearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := netsim.New(netsim.Config{MTU: 1400, PTB: netsim.PTBs{Drop: true}, Delay: 20 * time.Millisecond}, 1)
		c := collector(t, path, collectors.IKE)
		dialect := ikeprobe.NewDialect(ikeprobe.V1, ikeprobe.PSK)
		c.opts.Dialects = map[collectors.Method]*ikeprobe.Dialect{collectors.IKE: dialect}
		time.AfterFunc(200*time.Millisecond, func() { dialect.Drop(ikeprobe.V1Main) })
		if _, err := c.Measure(t.Context(), inVersion1()); !errors.Is(err, collectors.ErrAccepted) {
			t.Errorf("error %v, want %v", err, collectors.ErrAccepted)
		}
		for _, s := range path.Sent() {
			if s.At > 200*time.Millisecond {
				t.Errorf("a probe was sent after %v", s.At)
			}
		}
		if r := measure(t, c, inVersion1()); r.State != search.BlackHole || r.Bytes != 1400 || r.Form != "v1-minor" {
			t.Errorf("next round: %s %d by %s", r.State, r.Bytes, r.Form)
		}
	})
}
