package load

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
	"ipsec_path_exporter/internal/netlab/crowd"
	"ipsec_path_exporter/internal/netlab/responder"
	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ike"
	"ipsec_path_exporter/internal/wire/ip"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var victim = netip.MustParseAddr("10.63.0.1")

// TestForgedPackets: the kernel would accept each forged packet.
func TestForgedPackets(t *testing.T) {
	f := Flood{To: victim, First: netip.MustParseAddr("10.64.0.1"), Count: 3, Ports: []uint16{33333}}
	random := rand.New(rand.NewPCG(1, 2))
	for _, kind := range Forgeries() {
		for range 200 {
			h, payload, err := ip.ParseIPv4(f.append(nil, kind, random))
			if err != nil || h.Dst != victim || h.Src.Compare(f.First) < 0 || h.Src.Compare(netip.MustParseAddr("10.64.0.3")) > 0 {
				t.Fatalf("%s: %+v, %v", kind, h, err)
			}
			switch kind {
			case ForgedReplies, ForgedErrors:
				m, err := icmp.ParseIPv4(payload)
				if !icmp.ValidIPv4(payload) || kind == ForgedReplies && (err != nil || m.Type != icmp.V4EchoReply) {
					t.Fatalf("%s: %+v, %v", kind, m, err)
				}
				if kind == ForgedErrors && m.Type != icmp.V4DestinationUnreachable {
					t.Fatalf("%s: type %d", kind, m.Type)
				}
			case ForgedUDP, ForgedIKE:
				forgedDatagram(t, kind, &h, payload)
			}
		}
	}
}

func forgedDatagram(t *testing.T, kind Forgery, h *ip.IPv4, payload []byte) {
	t.Helper()
	u, data, err := ip.ParseUDP(payload)
	if err != nil || ip.PseudoChecksum(h.Src, h.Dst, ip.ProtocolUDP, payload) != 0 || u.Dst != 33333 {
		t.Fatalf("%s: %+v, %v", kind, u, err)
	}
	if kind != ForgedIKE {
		return
	}
	if u.Src == responder.NATTPort {
		data = data[4:]
	}
	if m, err := ike.ParseMessage(data); err != nil || m.Header.Flags != ike.FlagResponse {
		t.Fatalf("%s: %+v, %v", kind, m.Header, err)
	}
}

func TestKindsTakeTurns(t *testing.T) {
	f := Flood{Kinds: Forgeries(), Turn: time.Second}
	for since, want := range map[time.Duration]Forgery{0: ForgedReplies, 1500 * time.Millisecond: ForgedErrors, 4 * time.Second: ForgedReplies} {
		if got := f.kind(since); got != want {
			t.Errorf("after %v: %s, want %s", since, got, want)
		}
	}
}

// TestReferenceAndFlood runs both against simulated peers: the loop gets an answer to every echo, and
// no forged packet counts as one.
func TestReferenceAndFlood(t *testing.T) {
	netlab.Need(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := crowd.Config{Count: 50, Delay: crowd.Distribution{Low: 2 * time.Millisecond, High: 2 * time.Millisecond}}
	peers, err := crowd.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	var from netip.Addr
	for p := range peers.Profiles {
		from = p.Address
		break
	}
	sending, stop := context.WithCancel(ctx)
	flooded := make(chan error, 1)
	go func() {
		sent, err := Flood{To: victim, First: from, Count: c.Count, Kinds: Forgeries(), Turn: 10 * time.Millisecond, Rate: 5000}.Run(sending)
		if err == nil && sent == 0 {
			t.Error("the flood sent nothing")
		}
		flooded <- err
	}()
	enough := time.AfterFunc(time.Minute, stop)
	defer enough.Stop()
	go func() {
		for peers.Counters()["echoes_answered"] < 500 && sending.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		stop()
	}()
	result, err := Reference{First: from, Count: c.Count, Interval: 100 * time.Millisecond, Tick: time.Millisecond}.Run(sending)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-flooded; err != nil {
		t.Error(err)
	}
	// The replies to the echoes of the last milliseconds are still on the path.
	if result.Sent < 500 || result.Received < result.Sent-c.Count || result.Received > result.Sent {
		t.Errorf("%+v", result)
	}
	if result.Median < time.Millisecond || result.P99 < result.Median {
		t.Errorf("round trips: median %v, 99 %% %v", result.Median, result.P99)
	}
	cancel()
	if err := peers.Wait(); err != nil {
		t.Error(err)
	}
}
