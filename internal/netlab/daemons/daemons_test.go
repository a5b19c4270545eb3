package daemons

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A site is a gateway's namespace and a client's, joined by one link.
type site struct {
	client, gateway                      *netlab.NS
	client4, gateway4, client6, gateway6 netip.Addr
}

// newSite builds one.
func newSite(t *testing.T) site {
	t.Helper()
	s := site{client: netlab.New(t), gateway: netlab.New(t)}
	s.client4, s.gateway4 = netip.MustParseAddr("10.77.1.1"), netip.MustParseAddr("10.77.2.1")
	s.client6, s.gateway6 = netip.MustParseAddr("fd77:1::1"), netip.MustParseAddr("fd77:2::1")
	end := func(n *netlab.NS, v4, v6 netip.Addr) netlab.End {
		// Each end's prefix covers the other's.
		return netlab.End{NS: n, Name: "net1", Addrs: []netip.Prefix{netip.PrefixFrom(v4, 16), netip.PrefixFrom(v6, 16)}}
	}
	netlab.Veth(t, end(s.client, s.client4, s.client6), end(s.gateway, s.gateway4, s.gateway6), 1500)
	return s
}

// initiator is a charon on the client.
func (s site) initiator(t *testing.T, version int) *Charon {
	t.Helper()
	return StartStrongSwan(t, s.client, StrongSwan{Conn: StrongSwanPeer(version, s.client4, s.gateway4)})
}

func TestStrongSwan(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(map[int]string{1: "IKEv1", 2: "IKEv2"}[version], func(t *testing.T) {
			NeedStrongSwan(t)
			s := newSite(t)
			c := StartStrongSwan(t, s.gateway, StrongSwan{Conn: StrongSwanPeer(version, s.gateway4, s.client4)})
			askAll(t, s, major3(), true)
			if n := c.HalfOpen(t); n != 0 {
				t.Errorf("%d half-open SAs, want 0", n)
			}
			if version == 2 {
				ask(t, s.client, netip.AddrPortFrom(s.gateway4, 500), acceptable(), true)
				if n := c.HalfOpen(t); n != 1 {
					t.Errorf("%d half-open SAs after an acceptable offer, want 1", n)
				}
			}
			if !s.initiator(t, version).Initiate(t) || !c.Established(t) {
				t.Error("no IKE SA")
			}
		})
	}
}

func TestStrongSwanLibipsec(t *testing.T) {
	NeedStrongSwan(t)
	s := newSite(t)
	AddProtected(t, s.client, s.client4)
	AddProtected(t, s.gateway, s.gateway4)
	c := StartStrongSwan(t, s.gateway, StrongSwan{Conn: StrongSwanPeer(2, s.gateway4, s.client4), Libipsec: true})
	client := StartStrongSwan(t, s.client, StrongSwan{Conn: StrongSwanPeer(2, s.client4, s.gateway4), Libipsec: true})
	if out, err := client.Swanctl("--initiate", "--child", "net", "--timeout", "10"); err != nil {
		t.Errorf("initiate: %v", err)
		t.Log(out)
	}
	out, err := c.Swanctl("--list-sas")
	if err != nil || !bytes.Contains([]byte(out), []byte("INSTALLED")) {
		t.Errorf("no child SA: %v\n%s", err, out)
	}
}

func TestLibreswan(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(map[int]string{1: "IKEv1", 2: "IKEv2"}[version], func(t *testing.T) {
			NeedLibreswan(t)
			s := newSite(t)
			p := StartLibreswan(t, s.gateway, Libreswan{Conn: LibreswanPeer(version, s.gateway4, s.client4)})
			askAll(t, s, major3(), true)
			if n := p.HalfOpen(t); n != 0 {
				t.Errorf("%d half-open SAs, want 0", n)
			}
			if version == 2 {
				ask(t, s.client, netip.AddrPortFrom(s.gateway4, 500), acceptable(), true)
				if n := p.HalfOpen(t); n != 1 {
					t.Errorf("%d half-open SAs after an acceptable offer, want 1", n)
				}
			}
			NeedStrongSwan(t)
			if !s.initiator(t, version).Initiate(t) {
				t.Error("no IKE SA")
			}
		})
	}
}

func TestOpenIKED(t *testing.T) {
	NeedOpenIKED(t)
	s := newSite(t)
	i := StartOpenIKED(t, s.gateway, OpenIKED{Conn: OpenIKEDPeer(s.gateway4, s.client4) + OpenIKEDPeer(s.gateway6, s.client6)})
	// It does not look at the version, and answers only a whole IKE_SA_INIT.
	askAll(t, s, badKE(), true)
	askAll(t, s, major3(), false)
	if out, err := i.Ikectl("show", "sa"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	NeedStrongSwan(t)
	if !s.initiator(t, 2).Initiate(t) {
		t.Error("no IKE SA")
	}
}

// askAll sends a request to both ports of both families.
func askAll(t *testing.T, s site, request []byte, want bool) {
	t.Helper()
	for _, a := range []netip.Addr{s.gateway4, s.gateway6} {
		for _, port := range []uint16{500, 4500} {
			to := netip.AddrPortFrom(a, port)
			if got := ask(t, s.client, to, request, want); (got != nil) != want {
				t.Errorf("%s: reply %x, want one: %v", to, got, want)
			}
		}
	}
}

// ask sends a request and returns the reply without the marker, or nothing. Silence is believed
// sooner where it is wanted.
func ask(t *testing.T, client *netlab.NS, to netip.AddrPort, request []byte, want bool) []byte {
	t.Helper()
	var c *net.UDPConn
	client.Do(t, func() {
		var err error
		if c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	})
	defer c.Close()
	// iked takes a known SPI from another port for a retransmission, and answers to the first port.
	request = slices.Clone(request)
	binary.BigEndian.PutUint64(request, rand.Uint64())
	marker := 0
	if to.Port() == 4500 {
		marker = 4
	}
	b := make([]byte, 2000)
	tries, wait := 3, 2*time.Second
	if !want {
		tries, wait = 1, 200*time.Millisecond
	}
	for range tries {
		if _, err := c.Write(append(make([]byte, marker), request...)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err == nil && n >= marker+28 {
			if !bytes.Equal(b[marker:marker+8], request[:8]) {
				t.Errorf("%s: reply %x echoes another SPI than %x", to, b[:n], request[:8])
			}
			return b[marker:n]
		}
	}
	return nil
}

// major3 is the header of an IKE_SA_INIT of version 3 (RFC 7296, section 2.5).
func major3() []byte { return message(0x30, nil) }

// badKE is an IKE_SA_INIT that offers what everybody has, with a key exchange of a group that is
// offered last.
func badKE() []byte { return message(0x20, []uint16{31, 19, 14, 1}) }

// acceptable is an IKE_SA_INIT of the proposal that the configurations here ask for.
func acceptable() []byte { return message(0x20, []uint16{14}) }

// message is an IKE_SA_INIT with these groups, the last of which its key exchange has; without
// groups it is empty.
func message(version byte, groups []uint16) []byte {
	b := make([]byte, 16) // the SPIs
	next := byte(33)
	if len(groups) == 0 {
		next = 0
	}
	b = append(b, next, version, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 0)
	if len(groups) > 0 {
		transforms := [][]byte{{1, 0, 0, 12, 0x80, 14, 1, 0}, {2, 0, 0, 5}, {3, 0, 0, 12}}
		for _, g := range groups {
			transforms = append(transforms, []byte{4, 0, byte(g >> 8), byte(g)})
		}
		var body []byte
		for i, tr := range transforms {
			more := byte(3)
			if i == len(transforms)-1 {
				more = 0
			}
			body = append(append(body, more, 0, 0, byte(4+len(tr))), tr...)
		}
		proposal := append([]byte{0, 0, 0, byte(8 + len(body)), 1, 1, 0, byte(len(transforms))}, body...)
		b = payload(b, 34, proposal)
		group := groups[len(groups)-1]
		public := bytes.Repeat([]byte{0x55}, map[uint16]int{1: 96, 14: 256}[group])
		b = payload(b, 40, append([]byte{0, byte(group), 0, 0}, public...))
		b = payload(b, 0, bytes.Repeat([]byte{0x77}, 32))
	}
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
	return b
}

// payload appends a payload (RFC 7296, section 3.2).
func payload(b []byte, next byte, body []byte) []byte {
	b = append(b, next, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(body)))
	return append(b, body...)
}
