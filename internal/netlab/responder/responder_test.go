package responder

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// Requests, by hand: SPIi, SPIr, next payload, version, exchange, flags, message ID, length.
const (
	init2   = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "21" + "20" + "22" + "08" + "00000000" + "00000020" + "00000004"
	empty2  = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "00" + "20" + "22" + "08" + "00000000" + "0000001c"
	major3  = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "00" + "30" + "22" + "08" + "00000000" + "0000001c"
	main1   = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "01" + "10" + "02" + "00" + "00000000" + "00000020" + "00000004"
	second2 = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "21" + "20" + "22" + "08" + "00000001" + "00000020" + "00000004"
	reply2  = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "21" + "20" + "22" + "20" + "00000000" + "00000020" + "00000004"
	known2  = "a1a2a3a4a5a6a7a8" + "b100000000000000" + "21" + "20" + "22" + "08" + "00000000" + "00000020" + "00000004"
	auth2   = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "2e" + "20" + "23" + "08" + "00000000" + "00000020" + "00000004"
	quick1  = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "08" + "10" + "20" + "01" + "00000000" + "00000020" + "00000004"
	longer  = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "21" + "20" + "22" + "08" + "00000000" + "00000021" + "00000004"

	refusal2   = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "29" + "20" + "22" + "20" + "00000000" + "00000026" + "0000000a" + "00000011" + "000e"
	syntax2    = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "29" + "20" + "22" + "20" + "00000000" + "00000024" + "00000008" + "00000007"
	wrongMajor = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "29" + "20" + "22" + "20" + "00000000" + "00000024" + "00000008" + "00000005"
	refusal1   = "a1a2a3a4a5a6a7a8" + "0000000000000000" + "0b" + "10" + "05" + "00" + "a5a6a7a8" + "00000028" + "0000000c" + "00000001" + "0100" + "000e"
)

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		name     string
		request  string
		versions Versions
		want     string
	}{
		{"IKEv2", init2, AnyVersion, refusal2},
		{"IKEv2 of an IKEv2 gateway", init2, Version2, refusal2},
		{"IKEv2 of an IKEv1 gateway", init2, Version1, ""},
		{"IKEv2 without payloads", empty2, AnyVersion, syntax2},
		{"version 3", major3, AnyVersion, wrongMajor},
		{"version 3 of an IKEv1 gateway", major3, Version1, ""},
		{"IKEv1", main1, AnyVersion, refusal1},
		{"IKEv1 of an IKEv1 gateway", main1, Version1, refusal1},
		{"IKEv1 of an IKEv2 gateway", main1, Version2, ""},
		{"message ID 1", second2, AnyVersion, ""},
		{"a response", reply2, AnyVersion, ""},
		{"an SA that does not exist", known2, AnyVersion, ""},
		{"IKE_AUTH", auth2, AnyVersion, ""},
		{"quick mode", quick1, AnyVersion, ""},
		{"length beyond the datagram", longer, AnyVersion, ""},
		{"half a header", init2[:28], AnyVersion, ""},
		{"nothing", "", AnyVersion, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := answer(nil, decode(t, tt.request), tt.versions)
			if diff := cmp.Diff(tt.want, hex.EncodeToString(got)); diff != "" || ok != (tt.want != "") {
				t.Errorf("ok = %v, answer (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestSockets(t *testing.T) {
	const marker = "00000000"
	n := host(t)
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		start(t, n, Config{Addrs: []netip.Addr{netip.MustParseAddr(addr)}})
		for _, tt := range []struct {
			name    string
			port    uint16
			request string
			want    string
		}{
			{"IKE", IKEPort, init2, refusal2},
			{"NAT-T", NATTPort, marker + init2, marker + refusal2},
			{"marker on 500", IKEPort, marker + init2, ""},
			{"no marker on 4500", NATTPort, init2, ""},
			{"keepalive", NATTPort, "ff", ""},
		} {
			t.Run(addr+" "+tt.name, func(t *testing.T) {
				got, err := ask(t, n, netip.AddrPortFrom(netip.MustParseAddr(addr), tt.port), tt.request, tt.want == "")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, hex.EncodeToString(got)); diff != "" {
					t.Errorf("reply (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// On all addresses the reply must come from the one that was asked: the client's socket is
// connected.
func TestWildcard(t *testing.T) {
	n := host(t)
	r := start(t, n, Config{})
	for _, addr := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		got, err := ask(t, n, netip.AddrPortFrom(netip.MustParseAddr(addr), IKEPort), major3, false)
		if err != nil || hex.EncodeToString(got) != wrongMajor {
			t.Errorf("%s: %x, %v", addr, got, err)
		}
	}
	// A reply is counted after it was sent.
	for deadline := time.Now().Add(5 * time.Second); r.Replies() < 3 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if r.Requests() != 3 || r.Replies() != 3 {
		t.Errorf("requests %d, replies %d, want 3 and 3", r.Requests(), r.Replies())
	}
}

func TestBehaviour(t *testing.T) {
	n := host(t)
	at := netip.MustParseAddrPort("127.0.0.1:500")
	r := start(t, n, Config{Closed: []uint16{NATTPort}, Seed: 1})

	if _, err := ask(t, n, netip.AddrPortFrom(at.Addr(), NATTPort), major3, false); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("closed port: %v, want connection refused", err)
	}
	r.Set(Behaviour{Silent: true})
	if got, err := ask(t, n, at, major3, true); err != nil || len(got) != 0 {
		t.Errorf("silent: %x, %v", got, err)
	}
	const delay = 100 * time.Millisecond
	r.Set(Behaviour{Delay: delay})
	began := time.Now()
	if got, err := ask(t, n, at, major3, false); err != nil || len(got) == 0 || time.Since(began) < delay {
		t.Errorf("delay: %x, %v after %s", got, err, time.Since(began))
	}
	r.Set(Behaviour{Loss: 0.5})
	before := r.Replies()
	const asked = 400
	for range asked {
		if r.loses(0.5) {
			before++
		}
	}
	// The mean is 200, the standard deviation 10.
	if lost := before - r.Replies(); lost < 150 || lost > 250 {
		t.Errorf("lost %d of %d at a share of one half", lost, asked)
	}
	r.Set(Behaviour{Loss: 1})
	if got, err := ask(t, n, at, major3, true); err != nil || len(got) != 0 {
		t.Errorf("total loss: %x, %v", got, err)
	}
}

func TestStop(t *testing.T) {
	n := host(t)
	ctx, cancel := context.WithCancel(t.Context())
	var r *Responder
	n.Do(t, func() {
		var err error
		if r, err = Start(ctx, Config{Behaviour: Behaviour{Delay: time.Hour}}); err != nil {
			t.Fatal(err)
		}
	})
	at := netip.MustParseAddrPort("127.0.0.1:500")
	if _, err := ask(t, n, at, major3, true); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := ask(t, n, at, major3, false); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the end: %v, want connection refused", err)
	}
}

// host is a namespace with addresses on its loopback.
func host(t *testing.T) *netlab.NS {
	t.Helper()
	return netlab.New(t)
}

// start starts a responder in the namespace.
func start(t *testing.T, n *netlab.NS, c Config) *Responder {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var r *Responder
	n.Do(t, func() {
		var err error
		if r, err = Start(ctx, c); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := r.Wait(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// ask sends a request and returns the reply, or nothing when silence was expected and kept.
func ask(t *testing.T, n *netlab.NS, to netip.AddrPort, request string, silence bool) ([]byte, error) {
	t.Helper()
	var c *net.UDPConn
	n.Do(t, func() {
		var err error
		if c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	wait := 5 * time.Second
	if silence {
		wait = 100 * time.Millisecond
	}
	if _, err := c.Write(decode(t, request)); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	b := make([]byte, 2000)
	m, err := c.Read(b)
	var ne net.Error
	if silence && errors.As(err, &ne) && ne.Timeout() {
		return nil, nil
	}
	return bytes.Clone(b[:m]), err
}

// decode is hexadecimal digits as bytes.
func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
