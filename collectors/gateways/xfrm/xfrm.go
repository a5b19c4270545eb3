// Package xfrm reads the IPsec SAs of this host's kernel (Linux XFRM), whoever made them, and what the kernel counts that goes
// wrong with them (/proc/net/xfrm_stat).
//
// The kernel knows no IKE SAs, so it cannot tell whether a tunnel is up. The answers of the kernel hold the keys of the SAs. They
// are read message by message, and of each only the fields that are needed; the attributes with keys are skipped, and nothing
// of them is kept, logged or shown.
//
// Listing SAs needs CAP_NET_ADMIN in the network namespace. Everything is opened by New and stays in the namespace of then.
package xfrm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"ipsec_path_exporter/collectors/gateways"
)

// Type is the type of these gateways in the configuration.
const Type = "xfrm"

// What is asked of the kernel (linux/netlink.h, linux/rtnetlink.h).
const (
	netlinkRoute = 0
	netlinkXFRM  = 6
	dump         = 0x300 // NLM_F_DUMP
)

// tries is how often a dump is made that the kernel says was disturbed.
const tries = 3

// Config says what else to look at.
type Config struct {
	// PathMTU returns the path MTU that the kernel believes between an address of this host and a peer, 0 if it does not know; it
	// may be nil.
	PathMTU func(local, remote netip.Addr) int
}

// A Source is the kernel of this host.
type Source struct {
	paths    *beliefs // nil where nobody can tell
	socket   *nl.NetlinkSocket
	requests map[int]*nl.SocketHandle
	routes   *netlink.Handle
	stat     *os.File // nil where the kernel does not count
	release  string
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
		s.paths = &beliefs{ask: c.PathMTU, known: map[pair]belief{}}
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
	states, err := s.states(ctx)
	if err != nil {
		return table, err
	}
	table.Children, table.Unparsed = children(states, local, s.paths)
	table.Counters, err = s.counters()
	return table, err
}

// addresses are those of this host.
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

// states lists the SAs.
func (s *Source) states(ctx context.Context) ([]state, error) {
	var all []state
	err := s.dump(ctx, nl.XFRM_MSG_GETSA, nl.XFRM_MSG_NEWSA, func() { all = all[:0] }, func(b []byte) {
		if one, ok := parseState(b); ok {
			all = append(all, one)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list SAs: %w", err)
	}
	return all, nil
}

// dump asks for a list and hands each message of it to add; begin is called first, and again where the list changed while it
// was read.
func (s *Source) dump(ctx context.Context, ask, answer int, begin func(), add func([]byte)) error {
	err := error(nl.ErrDumpInterrupted)
	for range tries {
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
		begin()
		request := nl.NewNetlinkRequest(ask, dump)
		request.Sockets = s.requests
		err = request.ExecuteIter(netlinkXFRM, uint16(answer), func(b []byte) bool {
			add(b)
			return ctx.Err() == nil
		})
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
