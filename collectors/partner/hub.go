package partner

import (
	"context"
	"net/netip"
	"sync"

	"ipsec_path_exporter/internal/netio"
)

// An Endpoint sends datagrams. It is netio's Endpoint or a simulated path.
type Endpoint interface {
	// Send waits for the packet budget. The account may be nil.
	Send(ctx context.Context, o *netio.Outgoing, account *netio.Account) error
	Close()
}

// A Hub shares one Endpoint among the Collectors of all peers. It is safe for concurrent use.
type Hub struct {
	open func(receive func(*netio.Datagram)) (Endpoint, error)

	mu       sync.Mutex
	endpoint Endpoint
	closed   bool
	ears     map[netip.AddrPort][]*ear
	drops    [2]uint32 // datagrams that this host has lost, by IPv6
}

// An ear gets what one address sends, and is told that this host may have lost some of it.
type ear struct {
	receive func(*netio.Datagram)
	dropped func()
}

// NewHub returns a Hub that opens its Endpoint at first use.
func NewHub(open func(receive func(*netio.Datagram)) (Endpoint, error)) *Hub {
	return &Hub{open: open, ears: make(map[netip.AddrPort][]*ear)}
}

// Close closes the Endpoint.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	endpoint := h.endpoint
	h.mu.Unlock()
	if endpoint != nil {
		endpoint.Close() // without the lock, which its reader takes
	}
}

// use returns the Endpoint, and opens it the first time.
func (h *Hub) use() (Endpoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, netio.ErrNoSocket
	}
	if h.endpoint == nil {
		endpoint, err := h.open(h.receive)
		if err != nil {
			return nil, err
		}
		h.endpoint = endpoint
	}
	return h.endpoint, nil
}

// listen has receive called with what comes from an address and port, and dropped where this host
// may have lost some of it, until stop is called.
func (h *Hub) listen(from netip.AddrPort, receive func(*netio.Datagram), dropped func()) (stop func()) {
	e := &ear{receive, dropped}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ears[from] = append(h.ears[from], e)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		var left []*ear
		for _, other := range h.ears[from] {
			if other != e {
				left = append(left, other)
			}
		}
		if h.ears[from] = left; len(left) == 0 {
			delete(h.ears, from)
		}
	}
}

// receive hands a datagram to those who listen to its sender.
func (h *Hub) receive(d *netio.Datagram) {
	family := 0
	if d.From.Addr().Is6() {
		family = 1
	}
	var all []*ear
	h.mu.Lock()
	ears := h.ears[d.From] // never changed in place beyond its length
	if d.Drops != h.drops[family] {
		h.drops[family] = d.Drops
		for _, some := range h.ears {
			all = append(all, some...)
		}
	}
	h.mu.Unlock()
	for _, e := range all {
		e.dropped()
	}
	for _, e := range ears {
		e.receive(d)
	}
}
