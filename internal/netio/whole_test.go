package netio

import (
	"net/netip"
	"testing"
	"time"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// ipsecOf is an ESP or AH packet under an unused SPI.
func ipsecOf(dst netip.Addr, protocol Protocol, ttl uint8) *Packet {
	p := &Packet{Path: Path{Dst: dst}, Protocol: protocol, TTL: ttl, Token: Token{0xf0, 1, 2, ttl, 0, 0, 0, 1}, Payload: make([]byte, 64)}
	if protocol == AH {
		p.TokenOffset = 4
		copy(p.Payload, []byte{ip.ProtocolESP, 4})
	}
	copy(p.Payload[p.TokenOffset:], p.Token[:])
	return p
}

// TestFragments: a probe in fragments arrives as one packet, where fragments pass.
func TestFragments(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		datagram := datagramOf(dst, 9, 2000)
		datagram.DontFragment, datagram.FragmentSize = false, 1000
		echo := &Packet{Path: Path{Dst: dst}, Size: 1500, FragmentSize: 600}
		if a := probe(t, s, datagram); a.Outcome != Refused || a.From != dst {
			t.Errorf("datagram in fragments: %+v", a)
		}
		if a := probe(t, s, echo); a.Outcome != Delivered || a.FragmentSize != 0 {
			t.Errorf("echo in fragments, reply whole: %+v", a)
		}
		p.DropFragments(t)
		if a := probe(t, s, datagram); a.Outcome != Silent {
			t.Errorf("fragments are dropped: %+v", a)
		}
		p.Reset(t)
		p.SetReverseMTU(t, 1400)
		// An IPv6 router does not fragment: its "packet too big" makes the server do so from the
		// second reply on.
		a := probe(t, s, echo)
		if v6 {
			a = probe(t, s, echo)
		}
		if want := map[bool]int{false: 1396, true: 1400}[v6]; a.Outcome != Delivered || a.FragmentSize != want {
			t.Errorf("echo in fragments, reverse path of 1400 bytes: %+v, want a reply in fragments of %d", a, want)
		}
		p.Reset(t)
	})
}

// TestIPsecProtocols: errors about ESP and AH probes find them.
func TestIPsecProtocols(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		for protocol, number := range map[Protocol]uint8{ESP: ip.ProtocolESP, AH: ip.ProtocolAH} {
			for ttl := uint8(1); ttl <= 2; ttl++ {
				if a := probe(t, s, ipsecOf(dst, protocol, ttl)); a.Outcome != TimeExceeded || a.From != p.HopAddr(int(ttl), v6) {
					t.Errorf("%s with TTL %d: %+v", protocol, ttl, a)
				}
			}
			fault := p.RejectProtocol(t, number)
			a := probe(t, s, ipsecOf(dst, protocol, 0))
			if a.Outcome != Unreachable || a.From != p.HopAddr(2, v6) || icmp.ErrorName(v6, a.Type, a.Code) != icmp.NameProhibited {
				t.Errorf("%s is prohibited: %+v", protocol, a)
			}
			p.Heal(t, fault)
			if a := probe(t, s, ipsecOf(dst, protocol, 0)); a.Outcome != Refused && a.Outcome != Silent {
				t.Errorf("%s to a host: %+v", protocol, a)
			}
		}
	})
}

// TestOnWire: what an observer sees is what was sent and what came back.
func TestOnWire(t *testing.T) {
	p, s := inLab(t)
	families(t, func(t *testing.T, v6 bool) {
		t.Helper()
		dst := p.ServerAddr(v6)
		inFragments := &Packet{Path: Path{Dst: dst}, Size: 1500, FragmentSize: 600}
		plain := datagramOf(dst, 9, 300)
		plain.DontFragment = false
		for name, tt := range map[string]struct {
			packet  *Packet
			packets int
		}{
			"echo": {echoOf(dst, 100), 1}, "datagram with DF": {datagramOf(dst, 9, 300), 1}, "datagram": {plain, 1},
			"fragments": {inFragments, 3}, "esp": {ipsecOf(dst, ESP, 1), 1},
		} {
			var seen [][]byte
			var account Account
			tt.packet.Account = &account
			tt.packet.OnWire = func(_ time.Time, packet []byte) { seen = append(seen, append([]byte(nil), packet...)) }
			answers := make(chan []byte, 4)
			s.Send(t.Context(), tt.packet, time.Second, func(a Answer) { answers <- append([]byte(nil), a.Wire...) })
			answer := <-answers
			if len(seen) != tt.packets || account.Packets.Load() != uint64(tt.packets) {
				t.Errorf("%s: %d packets seen, %d counted, want %d", name, len(seen), account.Packets.Load(), tt.packets)
			}
			total := uint64(0)
			for _, b := range seen {
				total += uint64(len(b))
				checkPacket(t, name, b, p.ClientAddr(v6), dst)
			}
			if total != account.Bytes.Load() {
				t.Errorf("%s: %d bytes seen, %d counted", name, total, account.Bytes.Load())
			}
			checkPacket(t, name+", answer", answer, netip.Addr{}, p.ClientAddr(v6))
		}
	})
}

// checkPacket looks at addresses, length and checksum of an IP packet.
func checkPacket(t *testing.T, name string, b []byte, src, dst netip.Addr) {
	t.Helper()
	var from, to netip.Addr
	var length int
	if len(b) > 0 && b[0]>>4 == 6 {
		h, _, err := ip.ParseIPv6(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		from, to, length = h.Src, h.Dst, ip.HeaderLengthIPv6+h.PayloadLength
	} else {
		h, _, err := ip.ParseIPv4(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		from, to, length = h.Src, h.Dst, h.TotalLength
	}
	if src.IsValid() && from != src && !from.IsUnspecified() || to != dst || length != len(b) {
		t.Errorf("%s: from %s to %s, %d of %d bytes", name, from, to, len(b), length)
	}
}
