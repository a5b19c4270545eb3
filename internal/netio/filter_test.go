package netio

import (
	"testing"

	"golang.org/x/net/bpf"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// sorted runs both filters of a family over a packet.
func sorted(t *testing.T, l layout, ids, ports []uint16, packet []byte) (answers, suspects bool) {
	t.Helper()
	var accepted [2]bool
	for i, suspicious := range []bool{false, true} {
		raw, err := l.filter(ids, ports, suspicious)
		if err != nil {
			t.Fatal(err)
		}
		code, ok := bpf.Disassemble(raw)
		if !ok {
			t.Fatal("the filter has instructions that cannot be read back")
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(packet)
		if err != nil {
			t.Fatal(err)
		}
		accepted[i] = n > 0
	}
	return accepted[0], accepted[1]
}

func TestFilterSortsWhatTheHostReceives(t *testing.T) {
	s := matching(t)
	launch(s, &flight{dst: testPeer, size: 100})
	echo, datagram := echoFlight(100), ikeFlight(300)
	launch(s, echo)
	launch(s, datagram)
	id := testFlow.echoID
	edit := func(b []byte, at int) []byte {
		c := append([]byte(nil), b...)
		c[at]++
		return c
	}
	reply := func(id uint16) []byte {
		h := ip.IPv4{HeaderLength: 20, TotalLength: 60, TTL: 60, Protocol: ip.ProtocolICMP, Src: testPeer, Dst: testSelf}
		b := icmp.AppendEcho4(h.Append(nil), id, 1, make([]byte, 32))
		b[20] = icmp.V4EchoReply
		return b
	}
	esp := probeBytes(datagram)
	esp[9] = ip.ProtocolESP
	for name, tt := range map[string]struct {
		packet            []byte
		answers, suspects bool
	}{
		"our echo reply":             {reply(id), true, false},
		"another program's reply":    {reply(id + 1), false, false},
		"error for our echo":         {tooBig(1400, probeBytes(echo), 28), true, false},
		"error for our datagram":     {tooBig(1400, probeBytes(datagram), 548), true, false},
		"error for another echo":     {tooBig(1400, edit(probeBytes(echo), 25), 548), false, true},
		"error for another datagram": {tooBig(1400, edit(probeBytes(datagram), 21), 548), false, true},
		"error for ESP":              {tooBig(1400, esp, 548), false, true},
		"time exceeded for our echo": {icmpError(testRouter, 11, 0, 0, probeBytes(echo), 28), true, false},
		"echo request":               {probeBytes(echo), false, false},
		"error cut short":            {tooBig(1400, probeBytes(echo), 10), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			answers, suspects := sorted(t, layout4(), []uint16{id + 7, id}, []uint16{testPort, testPort + 7}, tt.packet)
			if answers != tt.answers || suspects != tt.suspects {
				t.Errorf("answers %t, suspects %t", answers, suspects)
			}
			if len(tt.packet) < 29 || tt.packet[0] != 0x45 {
				return
			}
			// The same behind IP options, which move everything that follows.
			long := append([]byte{0x46}, tt.packet[1:20]...)
			long = append(append(long, 1, 1, 1, 0), tt.packet[20:]...)
			if a, b := sorted(t, layout4(), []uint16{id, id + 7}, []uint16{testPort + 7, testPort}, long); a != tt.answers || b != tt.suspects {
				t.Errorf("behind IP options: answers %t, suspects %t", a, b)
			}
		})
	}
}

func TestFilterIPv6(t *testing.T) {
	const id = 4711
	quote := func(protocol byte, transport ...byte) []byte {
		b := make([]byte, 8+40)
		b[0], b[8], b[14] = icmp.V6PacketTooBig, 0x60, protocol
		return append(append(b, transport...), make([]byte, 16)...)
	}
	for name, tt := range map[string]struct {
		packet            []byte
		answers, suspects bool
	}{
		"our echo reply":          {[]byte{icmp.V6EchoReply, 0, 0, 0, id >> 8, id & 0xff, 0, 1}, true, false},
		"another program's reply": {[]byte{icmp.V6EchoReply, 0, 0, 0, id >> 8, 1, 0, 1}, false, false},
		"error for our echo":      {quote(ip.ProtocolICMPv6, icmp.V6EchoRequest, 0, 0, 0, id>>8, id&0xff), true, false},
		"error for another echo":  {quote(ip.ProtocolICMPv6, icmp.V6EchoRequest, 0, 0, 0, 0, 1), false, true},
		"error for our datagram":  {quote(ip.ProtocolUDP, testPort>>8, testPort&0xff), true, false},
		"error for another":       {quote(ip.ProtocolUDP, 0, 53), false, true},
		"router advertisement":    {[]byte{134, 0, 0, 0, 0, 0, 0, 0}, false, false},
	} {
		if a, b := sorted(t, layout6(), []uint16{id}, []uint16{testPort}, tt.packet); a != tt.answers || b != tt.suspects {
			t.Errorf("%s: answers %t, suspects %t", name, a, b)
		}
	}
}
