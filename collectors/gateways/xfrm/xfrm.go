//go:build linux

package xfrm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"ipsec_path_exporter/collectors/gateways"
)

// Requests to the kernel (linux/netlink.h, linux/rtnetlink.h).
const (
	netlinkRoute = 0
	netlinkXFRM  = 6
	dump         = 0x300 // NLM_F_DUMP
)

// tries bounds the attempts at a dump that the kernel reports as interrupted.
const tries = 3

// A Source is the kernel of this host.
type Source struct {
	paths    *kernelRoutes // nil where it cannot be known
	socket   *nl.NetlinkSocket
	requests map[int]*nl.SocketHandle
	routes   *netlink.Handle
	stat     *os.File // nil where the kernel does not count
	release  string
	losses   losses
}

var (
	_ gateways.Source     = (*Source)(nil)
	_ gateways.Discoverer = (*Source)(nil)
)

// New opens all that is needed in the network namespace of the calling thread.
func New(c Config) (*Source, error) {
	socket, err := nl.Subscribe(netlinkXFRM)
	if err != nil {
		return nil, fmt.Errorf("the kernel's IPsec socket: %w", err)
	}
	s := &Source{socket: socket, requests: map[int]*nl.SocketHandle{netlinkXFRM: {Socket: socket}}}
	if c.PathMTU != nil {
		s.paths = &kernelRoutes{ask: c.PathMTU, known: map[pair]knownMTU{}}
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Source) open() error {
	if err := s.socket.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		return fmt.Errorf("the kernel's IPsec socket: %w", err)
	}
	var err error
	if s.routes, err = netlink.NewHandle(netlinkRoute); err != nil {
		return fmt.Errorf("routing socket: %w", err)
	}
	if s.stat, err = os.Open("/proc/thread-self/net/xfrm_stat"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kernel's IPsec counters: %w", err)
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	s.release = strings.TrimSpace(string(release))
	return err
}

// Read implements gateways.Source.
func (s *Source) Read(ctx context.Context) (gateways.Table, error) {
	table := gateways.Table{Info: gateways.Info{Type: Type, Version: s.release}, NoIKE: true}
	local, err := s.addresses()
	if err != nil {
		return table, err
	}
	states, unread, err := s.states(ctx)
	if err != nil {
		return table, err
	}
	if len(states) == 0 && unread > 0 {
		return table, fmt.Errorf("list SAs: none of %d messages about SAs is understood", unread)
	}
	s.losses.add(states, time.Now())
	known, foreign := children(states, local, s.paths)
	table.Children = known
	for range unread {
		table.Skip("message about an SA that is too short or has an unknown address family")
	}
	for range foreign {
		table.Skip("SA between two other hosts")
	}
	table.Counters, err = s.counters()
	return table, err
}

func (s *Source) addresses() (map[netip.Addr]bool, error) {
	list, err := s.routes.AddrList(nil, netlink.FAMILY_ALL)
	for i := 1; i < tries && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		list, err = s.routes.AddrList(nil, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	local := make(map[netip.Addr]bool, len(list))
	for i := range list {
		if a, ok := netip.AddrFromSlice(list[i].IP); ok {
			local[a.Unmap()] = true
		}
	}
	return local, nil
}

// states lists the SAs. unread is the number of messages that were not understood.
func (s *Source) states(ctx context.Context) (all []state, unread int, err error) {
	err = s.dump(ctx, nl.XFRM_MSG_GETSA, nl.XFRM_MSG_NEWSA, func() { all, unread = all[:0], 0 }, func(b []byte) bool {
		if one, ok := parseState(b); ok {
			all = append(all, one)
		} else if !one.dst.IsValid() {
			unread++
		}
		return len(all) < gateways.MaxSAs
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list SAs: %w", err)
	}
	return all, unread, nil
}

// dump requests a list and calls add with each message, which returns false when there are too many.
// It calls begin first, and again where the list changed while it was read.
func (s *Source) dump(ctx context.Context, ask, answer int, begin func(), add func([]byte) bool) error {
	full := false
	err := error(nl.ErrDumpInterrupted)
	for range tries {
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
		begin()
		request := nl.NewNetlinkRequest(ask, dump)
		request.Sockets = s.requests
		err = request.ExecuteIter(netlinkXFRM, uint16(answer), func(b []byte) bool {
			full = !add(b)
			return !full && ctx.Err() == nil
		})
	}
	if full {
		return gateways.ErrTooMany
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (needs CAP_NET_ADMIN)", err)
	}
	return errors.Join(err, ctx.Err())
}

// counters reads /proc/net/xfrm_stat.
func (s *Source) counters() ([]gateways.DeviceCounter, error) {
	if s.stat == nil {
		return nil, nil
	}
	b := make([]byte, maxStat)
	n, err := s.stat.ReadAt(b, 0)
	if n == 0 && err != nil {
		return nil, fmt.Errorf("the kernel's IPsec counters: %w", err)
	}
	return parseStat(b[:n]), nil
}

// Close implements gateways.Source.
func (s *Source) Close() error {
	s.socket.Close()
	if s.routes != nil {
		s.routes.Close()
	}
	if s.stat != nil {
		return s.stat.Close()
	}
	return nil
}
