package netio

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cleanDelay is how long after a "packet too big" its entry in the path MTU cache is removed: the kernel hands the message
// to raw sockets before it makes the entry.
const cleanDelay = 50 * time.Millisecond

// cleanCache removes what an ICMPv6 "packet too big" for an echo of ours left in this host's path MTU cache. On IPv6 the
// kernel caches it whatever the sockets say (icmpv6_err), and then this host's own traffic suffers from our measurement for
// ten minutes after the path has recovered. An entry that was there before the probe is not ours and stays.
// Without CAP_NET_ADMIN the entry stays too.
func (s *Stack) cleanCache(f *flight) {
	if !f.cacheWasClean {
		return
	}
	s.mu.Lock()
	busy := s.cleaning[f.dst]
	s.cleaning[f.dst] = true
	s.mu.Unlock()
	if busy {
		return
	}
	s.wg.Go(func() {
		pause(s.ctx, cleanDelay)
		s.mu.Lock()
		delete(s.cleaning, f.dst)
		s.mu.Unlock()
		if err := s.routes.uncache(f.dst); err != nil {
			s.cfg.Log.Debug("the path MTU cache keeps an entry", "dst", f.dst, "err", err)
		}
	})
}

// cacheClean tells whether this host has no path MTU of its own for a peer.
func (s *Stack) cacheClean(p Path) bool {
	r, err := s.Route(p)
	return err == nil && r.CachedMTU == 0
}

// uncache removes the cached route to an IPv6 address, not the route that it was made from (RTM_F_CLONED, rtnetlink(7)).
func (r *routes) uncache(dst netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.cache {
		if p.Dst == dst {
			delete(r.cache, p)
		}
	}
	found, err := r.handle.RouteGet(dst.AsSlice())
	if err != nil {
		return fmt.Errorf("route to %s: %w", dst, err)
	}
	for i := range found {
		err := r.handle.RouteDel(&netlink.Route{
			Dst:       &net.IPNet{IP: dst.AsSlice(), Mask: net.CIDRMask(dst.BitLen(), dst.BitLen())},
			LinkIndex: found[i].LinkIndex, Table: found[i].Table, Flags: unix.RTM_F_CLONED,
		})
		if err != nil {
			return fmt.Errorf("cached route to %s: %w", dst, err)
		}
	}
	return nil
}
