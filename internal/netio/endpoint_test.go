package netio

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// An echoing Endpoint sends back what arrives, with the same TOS, and an Endpoint of the client
// collects it.
func endpoints(t *testing.T, p *netlab.Provider, whole bool) (client *Endpoint, port uint16, arrived, returned chan Datagram) {
	t.Helper()
	arrived, returned = make(chan Datagram, 16), make(chan Datagram, 16)
	a, b := openIn(t, p.Client, false), openIn(t, p.Server, false)
	keep := func(to chan Datagram, d *Datagram) {
		c := *d
		c.Payload = append([]byte(nil), d.Payload...)
		select {
		case to <- c:
		default: // more than the test looks at
		}
	}
	var server *Endpoint
	opened := make(chan struct{})
	server, err := b.OpenEndpoint(netip.MustParseAddrPort("0.0.0.0:10862"), func(d *Datagram) {
		keep(arrived, d)
		<-opened
		err := server.Answer(&Outgoing{Path: Path{Dst: d.From.Addr(), Src: d.To}, Port: d.From.Port(), TOS: d.TOS, DontFragment: whole && len(d.Payload) < 1472, Pieces: true, Payload: d.Payload})
		if err != nil {
			t.Error(err)
		}
	})
	close(opened)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client, err = a.OpenEndpoint(netip.AddrPort{}, func(d *Datagram) { keep(returned, d) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, server.Port(false), arrived, returned
}

func next(t *testing.T, from chan Datagram) Datagram {
	t.Helper()
	select {
	case d := <-from:
		return d
	case <-time.After(5 * time.Second):
		t.Fatal("nothing arrived")
		return Datagram{}
	}
}

// TestEndpoint: datagrams show where they come from, where they went, when, and with which TTL and
// TOS, in both families.
func TestEndpoint(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	client, port, arrived, returned := endpoints(t, p, false)
	for _, v6 := range []bool{false, true} {
		account := &Account{}
		path := Path{Dst: p.ServerAddr(v6), Src: p.ClientAddr(v6)}
		before := time.Now()
		if err := client.Send(t.Context(), &Outgoing{Path: path, Port: port, TOS: 0xba, Payload: []byte("hello")}, account); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			got      Datagram
			from, to netip.Addr
		}{{next(t, arrived), path.Src, path.Dst}, {next(t, returned), path.Dst, path.Src}} {
			d := tt.got
			if string(d.Payload) != "hello" || d.From.Addr() != tt.from || d.To != tt.to || d.TOS != 0xba || d.TTL == 0 || d.TTL > 64 {
				t.Errorf("%+v, want from %v to %v", d, tt.from, tt.to)
			}
			if d.At.Before(before.Add(-time.Millisecond)) || d.At.After(time.Now()) {
				t.Errorf("arrived at %v, sent at %v", d.At, before)
			}
		}
		if account.Packets.Load() != 1 || account.Bytes.Load() != uint64(path.HeaderIP()+8+5) {
			t.Errorf("charged %d packets, %d bytes", account.Packets.Load(), account.Bytes.Load())
		}
	}
	err := client.Send(t.Context(), &Outgoing{Path: Path{Dst: p.ServerAddr(false), Interface: "no-such"}, Port: port}, nil)
	if err == nil || !strings.Contains(err.Error(), "no-such") {
		t.Errorf("by an interface that does not exist: %v", err)
	}
}

// TestEndpointDontFragment: a datagram with DF above the path MTU is lost both ways, and leaves no
// trace in the path MTU cache; one without DF arrives in pieces over IPv4.
func TestEndpointDontFragment(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	p.SetMTU(t, 1400)
	client, port, arrived, _ := endpoints(t, p, true)
	send := func(v6, whole bool, size int) {
		path := Path{Dst: p.ServerAddr(v6), Src: p.ClientAddr(v6)}
		o := &Outgoing{Path: path, Port: port, DontFragment: whole, Payload: make([]byte, size-path.HeaderIP()-8)}
		if err := client.Send(t.Context(), o, nil); err != nil {
			t.Error(err)
		}
	}
	for range 2 { // the second time, a cache would show
		for _, tt := range []struct {
			v6, whole bool
			size      int
			arrives   bool
		}{{false, true, 1400, true}, {false, true, 1401, false}, {true, true, 1400, true}, {true, true, 1401, false}, {false, false, 1500, true}, {false, false, 2500, true}} {
			send(tt.v6, tt.whole, tt.size)
			send(tt.v6, false, 100) // it arrives behind the other, if that does
			want := tt.size
			if !tt.arrives {
				want = 100
			}
			header := Path{Dst: p.ServerAddr(tt.v6)}.HeaderIP()
			if got := len(next(t, arrived).Payload) + header + 8; got != want {
				t.Errorf("%+v: %d bytes arrived", tt, got)
			}
			if want != 100 {
				next(t, arrived)
			}
		}
	}
}

// TestEndpointPieces: what is larger than the link arrives, in pieces, if that is asked for.
func TestEndpointPieces(t *testing.T) {
	netlab.Need(t)
	p := netlab.NewProvider(t)
	client, port, arrived, _ := endpoints(t, p, false)
	for _, v6 := range []bool{false, true} {
		o := &Outgoing{Path: Path{Dst: p.ServerAddr(v6), Src: p.ClientAddr(v6)}, Port: port, Payload: make([]byte, 2500)}
		if err := client.Send(t.Context(), o, nil); (err != nil) != v6 {
			t.Errorf("IPv6 %v, in one piece: %v", v6, err)
		}
		if !v6 {
			next(t, arrived)
		}
		o.Pieces = true
		if err := client.Send(t.Context(), o, nil); err != nil {
			t.Fatal(err)
		}
		if d := next(t, arrived); len(d.Payload) != 2500 {
			t.Errorf("IPv6 %v: %d bytes", v6, len(d.Payload))
		}
	}
}

// TestClock: what the kernel says of its clock makes sense.
func TestClock(t *testing.T) {
	if largest, synchronized := Clock(); largest < 0 || synchronized && largest == 0 {
		t.Errorf("an error of %v, synchronized %v", largest, synchronized)
	}
}
